//! YAML and JSON text into a tree whose every node knows its line. Short tags become the long
//! forms of intrinsic functions (`!Sub x` is `{"Fn::Sub": x}`); aliases are expanded within
//! bounds, so that no text of a megabyte becomes a tree of gigabytes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Largest template, in bytes (CloudFormation quota for templates kept in S3).
pub(crate) const TEMPLATE_BYTES_MAX: usize = 1024 * 1024;
/// Nodes of a tree, expanded aliases included (ours: the largest real templates have tens of
/// thousands).
const NODES_MAX: usize = 200_000;
/// Bytes of text in a tree, expanded aliases included (ours).
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Levels of a tree (ours; real templates stay under twenty).
const DEPTH_MAX: usize = 64;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Text; plain if it stood there without quotes, and so may mean a number or a boolean.
    Text {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) value: Node,
}

/// Text that is not YAML, or too much of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SyntaxError {
    /// From 1; 0 where it is not known.
    pub(crate) line: usize,
    pub(crate) problem: String,
}

impl Node {
    pub(crate) fn text(line: usize, text: impl Into<String>) -> Self {
        Self {
            line,
            value: Value::Text {
                text: text.into(),
                plain: false,
            },
        }
    }

    pub(crate) fn map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.map()?
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// Text as deployments see it: unquoted booleans are `true` and `false` however written.
    pub(crate) fn as_text(&self) -> Option<Cow<'_, str>> {
        match &self.value {
            Value::Text { text, plain: true } => Some(match boolean(text) {
                Some(true) => "true".into(),
                Some(false) => "false".into(),
                None => text.as_str().into(),
            }),
            Value::Text { text, plain: false } => Some(text.as_str().into()),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match &self.value {
            Value::Text { text, .. } => boolean(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Text { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Booleans as YAML 1.1 has them, which deploy tools read.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// The tree of the first document in a text of YAML or JSON.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(SyntaxError {
            line: 0,
            problem: format!(
                "it is {} bytes long; at most {TEMPLATE_BYTES_MAX} are read",
                text.len()
            ),
        });
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        bytes: 0,
        line: 0,
    };
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => {
                return Ok(Node {
                    line: 1,
                    value: Value::Text {
                        text: String::new(),
                        plain: true,
                    },
                });
            }
            (event, span) if event.is_node() => return reader.node(event, &span, 0),
            _ => {}
        }
    }
}

struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
    height: usize,
}

struct Reader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    bytes: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), SyntaxError> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok((event, span))
            }
            Some(Err(error)) => Err(SyntaxError {
                line: error.marker().line(),
                problem: error.info().to_string(),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn error<T>(&self, problem: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            line: self.line,
            problem: problem.into(),
        })
    }

    fn count(&mut self, nodes: usize, bytes: usize, depth: usize) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > NODES_MAX || self.bytes > TEXT_BYTES_MAX {
            return self.error("it becomes too large once its aliases are expanded");
        }
        if depth > DEPTH_MAX {
            return self.error(format!("it is nested more than {DEPTH_MAX} levels deep"));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, SyntaxError> {
        let line = span.start.line();
        let (before_nodes, before_bytes) = (self.nodes, self.bytes);
        let anchor = event.anchor_id();
        let (value, tag) = match event {
            Event::Alias(id) => return self.alias(id, line, depth),
            Event::Scalar(text, style, _, tag) => {
                self.count(1, text.len(), depth)?;
                let plain = style == ScalarStyle::Plain && !is_text(tag.as_deref());
                (
                    Value::Text {
                        text: text.into_owned(),
                        plain,
                    },
                    tag,
                )
            }
            Event::SequenceStart(_, _, tag) => {
                self.count(1, 0, depth)?;
                (Value::List(self.items(depth)?), tag)
            }
            Event::MappingStart(_, _, tag) => {
                self.count(1, 0, depth)?;
                (Value::Map(self.entries(depth)?), tag)
            }
            _ => return self.error("a value was expected here"),
        };
        let node = tagged(Node { line, value }, tag.as_deref());
        if let Some(id) = anchor.filter(|id| *id != 0) {
            let kept = Anchored {
                nodes: self.nodes - before_nodes,
                bytes: self.bytes - before_bytes,
                height: height(&node),
                node: node.clone(),
            };
            // What an anchor keeps is memory too.
            self.count(kept.nodes, kept.bytes, depth)?;
            self.anchors.insert(id, kept);
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, line: usize, depth: usize) -> Result<Node, SyntaxError> {
        let Some(kept) = self.anchors.get(&id) else {
            return self.error("an alias stands for a value that it is itself a part of");
        };
        let (nodes, bytes, height) = (kept.nodes, kept.bytes, kept.height);
        self.count(nodes, bytes, depth + height)?;
        match self.anchors.get(&id) {
            Some(kept) => Ok(Node {
                line,
                value: kept.node.value.clone(),
            }),
            None => self.error("an alias stands for nothing"),
        }
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) if event.is_node() => {
                    items.push(self.node(event, &span, depth + 1)?)
                }
                (Event::StreamEnd, _) => return self.error("the text ends within a list"),
                _ => {}
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, SyntaxError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut names = HashSet::new();
        let mut merges = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (event, span) if event.is_node() => (event, span),
                (Event::StreamEnd, _) => return self.error("the text ends within a map"),
                _ => continue,
            };
            let key = self.node(event, &span, depth + 1)?;
            let Value::Text { text: name, plain } = key.value else {
                return self.error("a key must be text");
            };
            let (event, span) = loop {
                match self.next()? {
                    (event, span) if event.is_node() => break (event, span),
                    (Event::StreamEnd, _) => return self.error("the text ends within a map"),
                    _ => {}
                }
            };
            let value = self.node(event, &span, depth + 1)?;
            if plain && name == "<<" {
                merges.push(value);
            } else if !names.insert(name.clone()) {
                return Err(SyntaxError {
                    line: key.line,
                    problem: format!("the key '{}' is there twice", shorten(&name)),
                });
            } else {
                entries.push(Entry {
                    line: key.line,
                    key: name,
                    value,
                });
            }
        }
        for merged in merges {
            merge(&mut entries, &mut names, merged);
        }
        Ok(entries)
    }
}

/// `<<`: keys of other maps, where the map itself does not have them.
fn merge(entries: &mut Vec<Entry>, names: &mut HashSet<String>, merged: Node) {
    match merged.value {
        Value::Map(others) => {
            for other in others {
                if names.insert(other.key.clone()) {
                    entries.push(other);
                }
            }
        }
        Value::List(maps) => maps.into_iter().for_each(|map| merge(entries, names, map)),
        Value::Text { .. } => {}
    }
}

fn is_text(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"))
}

/// A node under its short tag, in the long form.
fn tagged(node: Node, tag: Option<&Tag>) -> Node {
    let Some(tag) = tag.filter(|tag| tag.handle() == "!" && !tag.suffix().is_empty()) else {
        return node;
    };
    let line = node.line;
    let (key, value) = match tag.suffix() {
        name @ ("Ref" | "Condition") => (name.to_owned(), node),
        "GetAtt" => ("Fn::GetAtt".to_owned(), dotted(node)),
        name => (format!("Fn::{name}"), node),
    };
    Node {
        line,
        value: Value::Map(vec![Entry { line, key, value }]),
    }
}

/// `!GetAtt A.B.C` means `[A, B.C]`.
fn dotted(node: Node) -> Node {
    let line = node.line;
    let parts = match &node.value {
        Value::Text { text, .. } => text.split_once('.').map(|(resource, attribute)| {
            vec![Node::text(line, resource), Node::text(line, attribute)]
        }),
        _ => None,
    };
    match parts {
        Some(parts) => Node {
            line,
            value: Value::List(parts),
        },
        None => node,
    }
}

fn height(node: &Node) -> usize {
    match &node.value {
        Value::Text { .. } => 1,
        Value::List(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Value::Map(entries) => {
            1 + entries
                .iter()
                .map(|entry| height(&entry.value))
                .max()
                .unwrap_or(0)
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
