//! Regular expressions as trees that are walked, never compiled at run time. All places where a
//! part can end are found at once, so that no text makes the work grow beyond its length times the
//! size of the tree.

/// A pattern that a text must match as a whole.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// As the service's messages quote it.
    pub(crate) text: &'static str,
    pub(crate) tree: Node,
}

/// A part of a pattern.
#[derive(Debug)]
pub(crate) enum Node {
    Literal(&'static str),
    /// One character in one of these ranges or categories.
    Class(&'static [(u32, u32)], &'static [Category]),
    Sequence(&'static [Node]),
    Choice(&'static [Node]),
    /// A part, this many times at least and at most.
    Repeat(&'static Node, u32, u32),
    Start,
    End,
    /// What comes next matches, or does not where this is true; nothing is used up.
    Ahead(&'static Node, bool),
    /// The same of a text just before.
    Behind(&'static str, bool),
}

/// A general category of Unicode.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Category {
    Letter,
    Number,
    Separator,
}

impl Category {
    fn has(self, one: char) -> bool {
        match self {
            // A little more than the category: some marks count as alphabetic, too.
            Self::Letter => one.is_alphabetic(),
            Self::Number => one.is_numeric(),
            Self::Separator => matches!(
                one,
                ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
                    ..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
            ),
        }
    }
}

impl Pattern {
    /// Whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.tree.ends(text, vec![0]).last() == Some(&text.len())
    }
}

impl Node {
    /// Where the part can end, in order, if it begins at one of these places, in order.
    fn ends(&self, text: &str, mut at: Vec<usize>) -> Vec<usize> {
        match self {
            Self::Literal(literal) => at.retain_mut(|place| {
                let fits = text[*place..].starts_with(literal);
                *place += literal.len();
                fits
            }),
            Self::Class(ranges, categories) => at.retain_mut(|place| {
                let one = text[*place..].chars().next();
                *place += one.map_or(0, char::len_utf8);
                one.is_some_and(|one| has(ranges, categories, one))
            }),
            Self::Sequence(nodes) => {
                for node in *nodes {
                    at = node.ends(text, at);
                    if at.is_empty() {
                        break;
                    }
                }
            }
            Self::Choice(nodes) => {
                let ends = nodes.iter().flat_map(|node| node.ends(text, at.clone()));
                at = settled(ends.collect());
            }
            Self::Repeat(node, 0, 1) => {
                let ends = node.ends(text, at.clone());
                if !ends.is_empty() {
                    at.extend(ends);
                    at = settled(at);
                }
            }
            Self::Repeat(node, least, most) => at = repeat(node, *least, *most, text, at),
            Self::Start => at.retain(|place| *place == 0),
            Self::End => at.retain(|place| *place == text.len()),
            Self::Ahead(node, negated) => {
                at.retain(|place| node.ends(text, vec![*place]).is_empty() == *negated);
            }
            Self::Behind(literal, negated) => {
                at.retain(|place| text[..*place].ends_with(literal) != *negated);
            }
        }
        at
    }
}

fn has(ranges: &[(u32, u32)], categories: &[Category], one: char) -> bool {
    let code = u32::from(one);
    ranges
        .iter()
        .any(|(from, to)| (*from..=*to).contains(&code))
        || categories.iter().any(|category| category.has(one))
}

fn repeat(node: &Node, least: u32, most: u32, text: &str, mut at: Vec<usize>) -> Vec<usize> {
    for _ in 0..least {
        if at.is_empty() {
            return at;
        }
        at = node.ends(text, at);
    }
    // A place that was reached needs to be left once only: the first time took the fewest rounds.
    let mut reached = vec![false; text.len() + 1];
    for place in &at {
        reached[*place] = true;
    }
    let mut all = at.clone();
    for _ in least..most {
        at = node.ends(text, at);
        at.retain(|place| !std::mem::replace(&mut reached[*place], true));
        if at.is_empty() {
            break;
        }
        all.extend(&at);
    }
    settled(all)
}

fn settled(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places.dedup();
    places
}
