//! QR codes as text: two rows of modules in each line, black on white whatever the colours of the
//! terminal are.

use qrcode::{Color, EcLevel, QrCode};

use crate::command::failure::Failure;

/// White modules around the code, without which cameras do not find it.
const MARGIN: usize = 4;

/// Black on white, and back to what was.
const BEGIN: &str = "\x1b[38;5;16;48;5;231m";
const END: &str = "\x1b[0m";

/// The code of a text, as lines for a terminal.
pub fn drawing(text: &str) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M);
    let code = code.map_err(|error| Failure::new(format!("no QR code can hold this: {error}")))?;
    let width = code.width();
    let dark = |x: usize, y: usize| match (x.checked_sub(MARGIN), y.checked_sub(MARGIN)) {
        (Some(x), Some(y)) if x < width && y < width => code[(x, y)] == Color::Dark,
        _ => false,
    };
    let side = width.saturating_add(2 * MARGIN);
    let mut out = String::new();
    for y in (0..side).step_by(2) {
        out.push_str(BEGIN);
        out.extend((0..side).map(|x| match (dark(x, y), dark(x, y.saturating_add(1))) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        }));
        out.push_str(END);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_the_code_is_drawn_within_a_margin() {
        let text = "xmpp:montague.lit?register;preauth=0123456789abcdef0123456789abcdef";
        let code = QrCode::with_error_correction_level(text, EcLevel::M).expect("a code");
        let drawn = drawing(text).expect("drawn");
        let mut rows: Vec<Vec<bool>> = Vec::new();
        for line in drawn.lines() {
            let line = line.strip_prefix(BEGIN).and_then(|line| line.strip_suffix(END));
            let line: Vec<char> = line.expect("colours around it").chars().collect();
            rows.push(line.iter().map(|c| "█▀".contains(*c)).collect());
            rows.push(line.iter().map(|c| "█▄".contains(*c)).collect());
        }
        let side = code.width() + 2 * MARGIN;
        assert!(rows.len() >= side && rows.iter().all(|row| row.len() == side));
        let inside = MARGIN..MARGIN + code.width();
        for (y, row) in rows.iter().enumerate() {
            for (x, dark) in row.iter().enumerate() {
                let there = inside.contains(&x) && inside.contains(&y);
                let wanted = there && code[(x - MARGIN, y - MARGIN)] == Color::Dark;
                assert_eq!(*dark, wanted, "module {x}, {y}");
            }
        }
    }
}
