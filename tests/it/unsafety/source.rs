//! A source of Rust as code and comments, line by line; what stands in literals is neither.

#[derive(Default)]
pub(super) struct Source {
    lines: Vec<Line>,
}

#[derive(Default)]
struct Line {
    code: String,
    comment: String,
}

/// A lint about unsafe code that lets none in.
const STRICTER: [&str; 2] = ["forbid", "deny"];

impl Source {
    pub(super) fn of(text: &str) -> Self {
        let mut source = Self {
            lines: vec![Line::default()],
        };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (length, kind) = piece(rest, first, source.last().code.chars().last());
            let (piece, after) = rest.split_at(length);
            for c in piece.chars() {
                if c == '\n' {
                    source.lines.push(Line::default());
                    continue;
                }
                match kind {
                    Kind::Code => source.last().code.push(c),
                    Kind::Comment => source.last().comment.push(c),
                    Kind::Literal => {}
                }
            }
            if kind == Kind::Literal {
                source.last().code.push('"');
            }
            rest = after;
        }
        source
    }

    fn last(&mut self) -> &mut Line {
        self.lines.last_mut().expect("it has a line from the first")
    }

    /// The lines, from 1, with the word, or with a lint that lets it in.
    pub(super) fn unsafe_words(&self) -> Vec<usize> {
        let says = |line: &Line| {
            let stricter = STRICTER
                .iter()
                .any(|lint| line.code.contains(&format!("{lint}(unsafe_code)")));
            words(&line.code).any(|word| word == "unsafe" || word == "unsafe_code" && !stricter)
        };
        self.numbered(says)
    }

    /// The lines with unsafe code.
    pub(super) fn unsafe_pieces(&self) -> Vec<usize> {
        self.numbered(|line| words(&line.code).any(|word| word == "unsafe"))
    }

    /// Those above which no reason stands.
    pub(super) fn without_reason(&self) -> Vec<usize> {
        let mut lines = self.unsafe_pieces();
        lines.retain(|line| !self.has_reason(line - 1));
        lines
    }

    fn has_reason(&self, mut at: usize) -> bool {
        // A function that is unsafe to call tells its callers what they have to see to.
        let is_function = self.lines[at].code.contains("unsafe fn ");
        while at > 0 {
            at -= 1;
            let line = &self.lines[at];
            let code = line.code.trim();
            if code.is_empty() {
                if line.comment.contains("SAFETY:")
                    || is_function && line.comment.contains("/ # Safety")
                {
                    return true;
                }
                if line.comment.is_empty() {
                    return false;
                }
            } else if code == ")]" {
                // An attribute over several lines: up to where it begins.
                while at > 0 && !self.lines[at].code.trim().starts_with("#[") {
                    at -= 1;
                }
            } else if !code.starts_with("#[") && code.ends_with([';', '{', '}', ',']) {
                // The statement before.
                return false;
            }
        }
        false
    }

    fn numbered(&self, is: impl Fn(&Line) -> bool) -> Vec<usize> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, line)| is(line))
            .map(|(at, _)| at + 1)
            .collect()
    }
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// How long the piece is with which a text begins, and what it is.
fn piece(text: &str, first: char, before: Option<char>) -> (usize, Kind) {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), Kind::Comment);
    }
    if text.starts_with("/*") {
        return (block_comment(text), Kind::Comment);
    }
    if first == '"' {
        return (1 + quoted(&text[1..], '"'), Kind::Literal);
    }
    if first == 'r' && (!in_word || before == Some('b') || before == Some('c')) {
        let hashes = text[1..].chars().take_while(|c| *c == '#').count();
        let inside = 1 + hashes;
        if text[inside..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = text[inside + 1..].find(&end);
            let length = length.map_or(text.len(), |at| inside + 1 + at + end.len());
            return (length, Kind::Literal);
        }
    }
    if first == '\'' {
        // A letter ends with a quote, a lifetime does not.
        let mut after = text[1..].chars();
        let is_letter = match after.next() {
            Some('\\') => true,
            Some(_) => after.next() == Some('\''),
            None => false,
        };
        if is_letter {
            return (1 + quoted(&text[1..], '\''), Kind::Literal);
        }
    }
    (first.len_utf8(), Kind::Code)
}

fn block_comment(text: &str) -> usize {
    let mut open = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            open += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            open -= 1;
            at += 2;
            if open == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// How far it is behind the quote that ends a literal.
fn quoted(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == end => return at + 1,
            _ => {}
        }
    }
    text.len()
}
