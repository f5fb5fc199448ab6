//! Rust source as tokens: enough of the grammar to tell code, strings and comments apart.

/// What a token is. Comments are tokens, since citations live in them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An identifier or keyword, `r#` taken off.
    Word,
    /// A string of any sort; the text is what stands between the quotes, escapes untouched.
    Text,
    /// A character or byte literal.
    Char,
    /// A number or a lifetime.
    Other,
    /// `// ..`, `/// ..` or `//! ..`; the text is the whole line.
    Line,
    /// `/* .. */`
    Block,
    /// One character of punctuation.
    Mark,
}

/// A piece of source with the line on which it begins, counted from 1.
#[derive(Clone, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// The text, without the quotes of a string.
    pub text: String,
    /// The first line.
    pub line: usize,
}

impl Token {
    /// Whether this is the given mark or word; a string never is.
    pub fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Mark | Kind::Word) && self.text == text
    }

    /// Whether this is a comment.
    pub fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::Line | Kind::Block)
    }
}

/// Splits a source file into tokens. Broken input ends in a long token, never in a panic.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: source.chars().collect(), at: 0, line: 1 };
    let mut found = Vec::new();
    while let Some(token) = lexer.next() {
        found.push(token);
    }
    found
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn next(&mut self) -> Option<Token> {
        while self.peek(0)?.is_whitespace() {
            self.bump();
        }
        let line = self.line;
        let (kind, text) = self.read(self.peek(0)?);
        Some(Token { kind, text, line })
    }

    fn read(&mut self, first: char) -> (Kind, String) {
        match (first, self.peek(1)) {
            ('/', Some('/')) => (Kind::Line, self.take_while(|c| c != '\n')),
            ('/', Some('*')) => (Kind::Block, self.block()),
            ('"', _) => (Kind::Text, self.string(0)),
            ('\'', _) => self.quote(),
            (c, _) if c.is_alphabetic() || c == '_' => self.word(),
            (c, _) if c.is_ascii_digit() => (Kind::Other, self.take_while(is_word)),
            (c, _) => {
                self.bump();
                (Kind::Mark, c.to_string())
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek(0).filter(|c| wanted(*c)) {
            text.push(c);
            self.bump();
        }
        text
    }

    /// A block comment; they nest.
    fn block(&mut self) -> String {
        let mut text = String::new();
        let mut depth = 0_usize;
        while let Some(c) = self.bump() {
            text.push(c);
            let pair = (c, self.peek(0));
            if pair == ('/', Some('*')) || pair == ('*', Some('/')) {
                depth = if c == '/' { depth + 1 } else { depth.saturating_sub(1) };
                text.extend(self.bump());
            }
            if depth == 0 {
                break;
            }
        }
        text
    }

    /// The inside of a string that opens here; `hashes` is `None` for one with escapes.
    fn string(&mut self, prefix: usize) -> String {
        for _ in 0..prefix {
            self.bump();
        }
        let hashes = self.take_while(|c| c == '#').len();
        let raw = hashes > 0 || (prefix > 0 && self.chars[self.at - 1] == 'r');
        self.bump();
        let mut text = String::new();
        while let Some(c) = self.bump() {
            if c == '"' && (0..hashes).all(|i| self.peek(i) == Some('#')) {
                for _ in 0..hashes {
                    self.bump();
                }
                break;
            }
            text.push(c);
            if c == '\\' && !raw {
                text.extend(self.bump());
            }
        }
        text
    }

    /// A character literal or a lifetime.
    fn quote(&mut self) -> (Kind, String) {
        let literal = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.bump();
        if !literal {
            return (Kind::Other, self.take_while(is_word));
        }
        let mut text = String::new();
        while let Some(c) = self.bump().filter(|c| *c != '\'') {
            text.push(c);
            if c == '\\' {
                text.extend(self.bump());
            }
        }
        (Kind::Char, text)
    }

    /// A word, or the string or byte literal that its letters introduce.
    fn word(&mut self) -> (Kind, String) {
        let rest: String = self.chars[self.at..].iter().take(5).collect();
        for prefix in ["r", "b", "c", "br", "cr"] {
            let Some(after) = rest.strip_prefix(prefix) else { continue };
            let raw = prefix.ends_with('r') && after.trim_start_matches('#').starts_with('"');
            if after.starts_with('"') || raw {
                return (Kind::Text, self.string(prefix.len()));
            }
        }
        if rest.starts_with("b'") {
            self.bump();
            return self.quote();
        }
        if rest.starts_with("r#") {
            self.bump();
            self.bump();
        }
        (Kind::Word, self.take_while(is_word))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, String)> {
        tokens(source).into_iter().map(|t| (t.kind, t.text)).collect()
    }

    #[test]
    fn strings_comments_and_code_are_told_apart() {
        let found =
            kinds("let a = r#\"x\"y\"#; // c\nb\"z\\\"\" /* a /* b */ c */ 'q' 'a b b'\\''");
        let texts: Vec<_> = found.iter().map(|(_, t)| t.as_str()).collect();
        assert_eq!(
            texts,
            [
                "let",
                "a",
                "=",
                "x\"y",
                ";",
                "// c",
                "z\\\"",
                "/* a /* b */ c */",
                "q",
                "a",
                "b",
                "\\'"
            ]
        );
        assert_eq!(found[3].0, Kind::Text);
        assert_eq!(found[5].0, Kind::Line);
        assert_eq!(found[7].0, Kind::Block);
        assert_eq!(found[8].0, Kind::Char);
        assert_eq!(found[9].0, Kind::Other);
        assert_eq!(found[11].0, Kind::Char);
    }

    #[test]
    fn lines_are_counted_through_strings() {
        let found = tokens("a\n\"b\nc\"\nd");
        assert_eq!(found.iter().map(|t| t.line).collect::<Vec<_>>(), [1, 2, 4]);
    }

    #[test]
    fn unfinished_input_ends() {
        for source in ["\"abc", "r#\"abc\"", "/* abc", "'", "b'", "r#"] {
            assert!(tokens(source).len() <= 2, "{source}");
        }
    }
}
