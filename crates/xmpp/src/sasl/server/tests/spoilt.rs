//! Messages that were spoilt on the way: nobody gets in by one, and nothing panics.

use super::*;

/// Random numbers that are the same at each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below.max(1)).unwrap()).unwrap()
    }

    /// The message with some bytes changed, dropped, doubled or put in.
    fn spoil(&mut self, message: &[u8]) -> Vec<u8> {
        const BYTES: &[u8] = b",=\0npyarmcsiv2CD3\xff\xc3a\n/@";
        let mut spoilt = message.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(spoilt.len());
            let byte = BYTES[self.roll(BYTES.len())];
            match self.roll(4) {
                0 if at < spoilt.len() => spoilt[at] = byte,
                1 if at < spoilt.len() => drop(spoilt.remove(at)),
                2 => spoilt.truncate(at),
                _ => spoilt.insert(at, byte),
            }
        }
        spoilt
    }
}

#[test]
fn spoilt_messages_neither_log_in_nor_panic() {
    let mut dice = Dice(0x5eed_cafe_f00d_1597);
    let context = Arc::new(context());
    // Nobody exists here, so that only an error of the machine could log somebody in.
    let firsts: [(&str, &[u8]); 5] = [
        ("SCRAM-SHA-256", b"n,a=juliet@capulet.lit,n=jul=2Ciet,r=abc,x=y"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-exporter,,n=juliet,r=abc"),
        ("PLAIN", b"juliet@capulet.lit\0juliet\0pencil"),
        ("EXTERNAL", b"juliet@capulet.lit"),
        ("ANONYMOUS", b"sirhc"),
    ];
    let (mut failed, mut challenges) = (0, 0);
    for round in 0..20_000 {
        let (mechanism, message) = firsts[round % firsts.len()];
        let step = start(&context, mechanism, Some(&dice.spoil(message)));
        let step = match step {
            Step::Lookup(lookup) => match lookup.found(Found::Unknown) {
                // Its cost is known; the comparison itself is tested elsewhere.
                Step::Check(_) => continue,
                step => step,
            },
            step => step,
        };
        let step = match step {
            Step::Challenge(challenge, awaiting) => {
                challenges += 1;
                let challenge = String::from_utf8(challenge).unwrap();
                let nonce = challenge.split(',').next().unwrap();
                let last = format!("c=biws,{nonce},p={}", encode(&[0; 32]));
                awaiting.respond(&dice.spoil(last.as_bytes()))
            }
            step => step,
        };
        match step {
            Step::Failure(_) => failed += 1,
            Step::Success(success) => {
                assert!(matches!(success.identity, Identity::Anonymous(_)));
            }
            step => panic!("left at {step:?}"),
        }
    }
    assert!(failed > 10_000 && challenges > 100, "{failed} {challenges}");
}
