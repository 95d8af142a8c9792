//! Java's regular expressions, as far as the service models use them, written out as the trees
//! that `compat` walks. What it does not know it refuses.

use anyhow::{Result, bail};

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Literal(String),
    Class(Class),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
    Start,
    End,
    /// What comes next, or does not where this is true.
    Ahead(Box<Node>, bool),
    /// The same of a text just before.
    Behind(String, bool),
}

/// Characters, as ranges in order, and those of Unicode's general categories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Class {
    ranges: Vec<(u32, u32)>,
    categories: Vec<&'static str>,
}

/// The pattern as an expression of Rust that makes the tree.
pub(super) fn tree(text: &str) -> Result<String> {
    let mut parser = Parser {
        rest: text.chars().collect(),
    };
    parser.rest.reverse();
    let node = parser.choice()?;
    if let Some(left) = parser.next() {
        bail!("the pattern {text} has a `{left}` too many");
    }
    Ok(write(&node))
}

/// What is left of the text, its next character last.
struct Parser {
    rest: Vec<char>,
}

impl Parser {
    fn next(&mut self) -> Option<char> {
        self.rest.pop()
    }

    fn peek(&self) -> Option<char> {
        self.rest.last().copied()
    }

    /// Steps over the text where it comes next.
    fn step(&mut self, text: &str) -> bool {
        let comes = self
            .rest
            .iter()
            .rev()
            .copied()
            .take(text.len())
            .eq(text.chars());
        if comes {
            self.rest.truncate(self.rest.len() - text.len());
        }
        comes
    }

    fn choice(&mut self) -> Result<Node> {
        let mut branches = vec![self.sequence()?];
        while self.step("|") {
            branches.push(self.sequence()?);
        }
        Ok(match branches.len() {
            1 => branches.remove(0),
            _ => Node::Choice(branches),
        })
    }

    fn sequence(&mut self) -> Result<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        while self.peek().is_some_and(|next| next != '|' && next != ')') {
            let node = self.repeated()?;
            match (nodes.last_mut(), node) {
                (Some(Node::Literal(before)), Node::Literal(text)) => before.push_str(&text),
                (_, node) => nodes.push(node),
            }
        }
        Ok(match nodes.len() {
            1 => nodes.remove(0),
            _ => Node::Sequence(nodes),
        })
    }

    fn repeated(&mut self) -> Result<Node> {
        let node = self.atom()?;
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(node),
            _ => return Ok(node),
        };
        self.next();
        Ok(Node::Repeat(Box::new(node), least, most))
    }

    fn counted(&mut self, node: Node) -> Result<Node> {
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('}') => break,
                Some(digit) => text.push(digit),
                None => bail!("a count does not end"),
            }
        }
        let (least, most) = match text.split_once(',') {
            None => (text.parse()?, Some(text.parse()?)),
            Some((least, "")) => (least.parse()?, None),
            Some((least, most)) => (least.parse()?, Some(most.parse()?)),
        };
        Ok(Node::Repeat(Box::new(node), least, most))
    }

    fn atom(&mut self) -> Result<Node> {
        if self.step("(") {
            return self.group();
        }
        Ok(match self.next() {
            Some('[') => Node::Class(self.class()?),
            // Java's dot is no end of a line.
            Some('.') => Node::Class(Class::of(&[0x0a, 0x0d, 0x85, 0x2028, 0x2029]).inverted()?),
            Some('^') => Node::Start,
            Some('$') => Node::End,
            Some('\\') => match self.escape()? {
                Escape::One(one) => Node::Literal(one.into()),
                Escape::Many(class) => Node::Class(class),
            },
            Some(wild @ ('*' | '+' | '?' | '{' | ')')) => bail!("`{wild}` follows nothing"),
            Some(plain) => Node::Literal(plain.into()),
            None => bail!("the pattern ends early"),
        })
    }

    fn group(&mut self) -> Result<Node> {
        let looks = [
            ("?!", false, true),
            ("?=", false, false),
            ("?<!", true, true),
            ("?<=", true, false),
        ];
        let look = looks.into_iter().find(|(mark, ..)| self.step(mark));
        if look.is_none() && !self.step("?:") && self.peek() == Some('?') {
            bail!("a kind of group that is not known");
        }
        let node = self.choice()?;
        if !self.step(")") {
            bail!("a group does not end");
        }
        Ok(match (look, node) {
            (None, node) => node,
            (Some((_, false, negated)), node) => Node::Ahead(Box::new(node), negated),
            (Some((_, true, negated)), Node::Literal(text)) => Node::Behind(text, negated),
            (Some((_, true, _)), _) => bail!("a look behind that is no plain text"),
        })
    }

    fn class(&mut self) -> Result<Class> {
        let inverted = self.step("^");
        let mut class = Class::default();
        loop {
            let from = match self.next() {
                Some(']') => break,
                Some('[' | '&') => bail!("a class in a class"),
                Some('\\') => match self.escape()? {
                    Escape::One(one) => one,
                    Escape::Many(many) => {
                        class.ranges.extend(many.ranges);
                        class.categories.extend(many.categories);
                        continue;
                    }
                },
                Some(plain) => plain,
                None => bail!("a class does not end"),
            };
            // A hyphen after a range, after a class or at the end is one itself.
            let is_range = self.peek() == Some('-')
                && self
                    .rest
                    .iter()
                    .rev()
                    .nth(1)
                    .is_some_and(|after| *after != ']');
            let to = if is_range {
                self.next();
                match self.next() {
                    Some('\\') => match self.escape()? {
                        Escape::One(one) => one,
                        Escape::Many(_) => bail!("a range that ends in a class"),
                    },
                    Some(plain) => plain,
                    None => bail!("a class does not end"),
                }
            } else {
                from
            };
            if to < from {
                bail!("a range from `{from}` down to `{to}`");
            }
            class.ranges.push((from.into(), to.into()));
        }
        class.settle();
        if inverted {
            class.inverted()
        } else {
            Ok(class)
        }
    }

    fn escape(&mut self) -> Result<Escape> {
        let Some(letter) = self.next() else {
            bail!("an escape does not end");
        };
        let many = match letter {
            'd' => Class::from_ranges(&[('0', '9')]),
            'w' => Class::from_ranges(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
            's' => Class::from_ranges(&[('\t', '\r'), (' ', ' ')]),
            'S' => Class::from_ranges(&[('\t', '\r'), (' ', ' ')]).inverted()?,
            'p' => self.category()?,
            'x' => return self.code(2),
            'u' => return self.code(4),
            plain if !plain.is_ascii_alphanumeric() => return Ok(Escape::One(plain)),
            other => bail!("an escape `\\{other}` that is not known"),
        };
        Ok(Escape::Many(many))
    }

    fn category(&mut self) -> Result<Class> {
        for (text, name) in [("{L}", "Letter"), ("{N}", "Number"), ("{Z}", "Separator")] {
            if self.step(text) {
                return Ok(Class {
                    ranges: Vec::new(),
                    categories: vec![name],
                });
            }
        }
        bail!("a category that is not known")
    }

    fn code(&mut self, digits: usize) -> Result<Escape> {
        let text: String = (0..digits).filter_map(|_| self.next()).collect();
        match u32::from_str_radix(&text, 16).ok().and_then(char::from_u32) {
            Some(one) => Ok(Escape::One(one)),
            None => bail!("no character has the code {text}"),
        }
    }
}

/// What an escape stands for.
enum Escape {
    One(char),
    Many(Class),
}

impl Class {
    fn of(codes: &[u32]) -> Self {
        Self {
            ranges: codes.iter().map(|code| (*code, *code)).collect(),
            categories: Vec::new(),
        }
    }

    fn from_ranges(ranges: &[(char, char)]) -> Self {
        Self {
            ranges: ranges
                .iter()
                .map(|(from, to)| (u32::from(*from), u32::from(*to)))
                .collect(),
            categories: Vec::new(),
        }
    }

    /// Brings the ranges into order and joins those that touch.
    fn settle(&mut self) {
        self.ranges.sort_unstable();
        let mut settled: Vec<(u32, u32)> = Vec::new();
        for (from, to) in self.ranges.drain(..) {
            match settled.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => settled.push((from, to)),
            }
        }
        self.ranges = settled;
    }

    fn inverted(mut self) -> Result<Self> {
        if !self.categories.is_empty() {
            bail!("a class of categories that is inverted");
        }
        self.settle();
        let mut inverted = Vec::new();
        let mut from = 0;
        for (start, end) in self.ranges {
            if start > from {
                inverted.push((from, start - 1));
            }
            from = end + 1;
        }
        inverted.push((from, u32::from(char::MAX)));
        Ok(Self {
            ranges: inverted,
            categories: Vec::new(),
        })
    }
}

fn write(node: &Node) -> String {
    let all = |nodes: &[Node]| nodes.iter().map(write).collect::<Vec<_>>().join(", ");
    match node {
        Node::Literal(text) => format!("Literal({text:?})"),
        Node::Class(class) => {
            let ranges: Vec<String> = class
                .ranges
                .iter()
                .map(|(from, to)| format!("(0x{from:x}, 0x{to:x})"))
                .collect();
            format!(
                "Class(&[{}], &[{}])",
                ranges.join(", "),
                class.categories.join(", ")
            )
        }
        Node::Sequence(nodes) => format!("Sequence(&[{}])", all(nodes)),
        Node::Choice(nodes) => format!("Choice(&[{}])", all(nodes)),
        Node::Repeat(node, least, most) => {
            let most = most.map_or("u32::MAX".to_owned(), |most| most.to_string());
            format!("Repeat(&{}, {least}, {most})", write(node))
        }
        Node::Start => "Start".to_owned(),
        Node::End => "End".to_owned(),
        Node::Ahead(node, negated) => format!("Ahead(&{}, {negated})", write(node)),
        Node::Behind(text, negated) => format!("Behind({text:?}, {negated})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, expected: &str) {
        let tree = tree(pattern).unwrap_or_else(|error| format!("refused: {error}"));
        assert_eq!(tree, expected, "{pattern}");
    }

    #[test]
    fn patterns_become_trees() {
        check("ab", r#"Literal("ab")"#);
        check(
            "ab*",
            r#"Sequence(&[Literal("a"), Repeat(&Literal("b"), 0, u32::MAX)])"#,
        );
        check("a|", r#"Choice(&[Literal("a"), Sequence(&[])])"#);
        check(r"\d{12}", "Repeat(&Class(&[(0x30, 0x39)], &[]), 12, 12)");
        check(
            r"(?!^\d+$)a{2,}",
            r#"Sequence(&[Ahead(&Sequence(&[Start, Repeat(&Class(&[(0x30, 0x39)], &[]), 1, u32::MAX), End]), true), Repeat(&Literal("a"), 2, u32::MAX)])"#,
        );
        check(
            r"a(?<!\.)",
            r#"Sequence(&[Literal("a"), Behind(".", true)])"#,
        );
    }

    #[test]
    fn classes_become_ranges() {
        check(
            "[a-z0-9-_]",
            "Class(&[(0x2d, 0x2d), (0x30, 0x39), (0x5f, 0x5f), (0x61, 0x7a)], &[])",
        );
        check(
            r"[\w-_]",
            "Class(&[(0x2d, 0x2d), (0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)], &[])",
        );
        check(r"[\s\S]", "Class(&[(0x0, 0x10ffff)], &[])");
        check("[^b]", "Class(&[(0x0, 0x61), (0x63, 0x10ffff)], &[])");
        check(r"[\p{L}.]", "Class(&[(0x2e, 0x2e)], &[Letter])");
        check(
            r"[\u0009\x20-\x7E]",
            "Class(&[(0x9, 0x9), (0x20, 0x7e)], &[])",
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        check("*a", "refused: `*` follows nothing");
        check("(a", "refused: a group does not end");
        check("a)", "refused: the pattern a) has a `)` too many");
        check(r"\bword", r"refused: an escape `\b` that is not known");
        check("[a&&b]", "refused: a class in a class");
        check("(?<name>a)", "refused: a kind of group that is not known");
    }
}
