//! Intrinsic functions of templates, as far as they can be known before anything is deployed.

use std::cell::Cell;
use std::collections::HashMap;

use super::report::Report;
use super::yaml::{Entry, Node, Value};
use crate::project::Options;

/// Conditions that may ask for each other in turn (ours; a chain longer than this is a circle).
const CONDITION_DEPTH_MAX: usize = 32;
/// Bytes that all resolved texts together may have (ours).
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Knows what the names in a template stand for.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    pseudo: HashMap<&'static str, String>,
    parameters: HashMap<&'a str, Option<Node>>,
    mappings: Option<&'a Node>,
    conditions: HashMap<&'a str, &'a Node>,
    resources: HashMap<String, Known>,
    produced_bytes: Cell<usize>,
}

#[derive(Debug)]
struct Known {
    kind: String,
    /// What `Ref` answers.
    name: String,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(
        root: &'a Node,
        options: &Options,
        stack: String,
        report: &mut Report,
    ) -> Self {
        let (account, region) = (options.account.to_string(), options.region.to_string());
        let stack_id = format!("arn:aws:cloudformation:{region}:{account}:stack/{stack}/local");
        let pseudo = HashMap::from([
            ("AWS::AccountId", account),
            ("AWS::Region", region),
            ("AWS::StackName", stack),
            ("AWS::StackId", stack_id),
            ("AWS::Partition", "aws".to_owned()),
            ("AWS::URLSuffix", "amazonaws.com".to_owned()),
        ]);
        let section = |name| root.get(name).and_then(Node::map).unwrap_or_default();
        let parameters = section("Parameters")
            .iter()
            .map(|entry| (entry.key.as_str(), parameter(entry, options)))
            .collect();
        let conditions = section("Conditions")
            .iter()
            .map(|entry| (entry.key.as_str(), &entry.value))
            .collect();
        for name in options.parameters.keys() {
            if root
                .get("Parameters")
                .and_then(|all| all.get(name))
                .is_none()
            {
                report.warn(root.line, format!("the template has no parameter {name}"));
            }
        }
        Self {
            pseudo,
            parameters,
            mappings: root.get("Mappings"),
            conditions,
            resources: HashMap::new(),
            produced_bytes: Cell::new(0),
        }
    }

    pub(crate) fn add_resource(&mut self, id: &str, kind: &str, name: String) {
        self.resources.insert(
            id.to_owned(),
            Known {
                kind: kind.to_owned(),
                name,
            },
        );
    }

    /// The node with its intrinsic functions carried out. None where it has no value: wanted so
    /// (`AWS::NoValue`) or because it cannot be known, which is reported.
    pub(crate) fn resolve(&self, node: &Node, report: &mut Report) -> Option<Node> {
        let resolved = self.carry_out(node, report)?;
        let text = resolved.as_text();
        let Some(reference) = text.as_deref().and_then(dynamic_reference) else {
            return Some(resolved);
        };
        report.warn(node.line, format!(
            "{reference} is kept in AWS and not read here; what it is the value of is left out (a \
             variable can be set in .env or an env-vars file)"
        ));
        None
    }

    fn carry_out(&self, node: &Node, report: &mut Report) -> Option<Node> {
        let line = node.line;
        match &node.value {
            Value::Text { text, .. } => {
                self.produce(text.len(), line, report).then(|| node.clone())
            }
            Value::List(items) => {
                let items = items
                    .iter()
                    .filter_map(|item| self.resolve(item, report))
                    .collect();
                Some(Node {
                    line,
                    value: Value::List(items),
                })
            }
            Value::Map(entries) => {
                if let [Entry { key, value, .. }] = entries.as_slice()
                    && (key == "Ref" || key.starts_with("Fn::"))
                {
                    return self.call(key, value, line, report);
                }
                let entries = entries.iter().filter_map(|entry| {
                    let value = self.resolve(&entry.value, report)?;
                    Some(Entry {
                        line: entry.line,
                        key: entry.key.clone(),
                        value,
                    })
                });
                Some(Node {
                    line,
                    value: Value::Map(entries.collect()),
                })
            }
        }
    }

    /// Whether there is room for that much more text.
    fn produce(&self, bytes: usize, line: usize, report: &mut Report) -> bool {
        let produced = self.produced_bytes.get().saturating_add(bytes);
        self.produced_bytes.set(produced);
        if produced > TEXT_BYTES_MAX {
            report.warn(
                line,
                "the template's values become too large; the rest is left out",
            );
        }
        produced <= TEXT_BYTES_MAX
    }

    fn call(
        &self,
        function: &str,
        argument: &Node,
        line: usize,
        report: &mut Report,
    ) -> Option<Node> {
        match function {
            "Ref" => self.reference(&argument.as_text()?, line, report),
            "Fn::Sub" => self.sub(argument, line, report),
            "Fn::GetAtt" => self.attribute(argument, line, report),
            "Fn::Join" => self.join(argument, line, report),
            "Fn::Select" => self.select(argument, line, report),
            "Fn::Split" => self.split(argument, line, report),
            "Fn::FindInMap" => self.find_in_map(argument, line, report),
            "Fn::If" => {
                let [condition, yes, no] = argument.list()? else {
                    return malformed(function, line, report);
                };
                let holds = self.condition(&condition.as_text()?, line, report);
                self.resolve(if holds { yes } else { no }, report)
            }
            _ => {
                report.unsupported(line, format!("the intrinsic function {function}"), None);
                None
            }
        }
    }

    fn reference(&self, name: &str, line: usize, report: &mut Report) -> Option<Node> {
        if name == "AWS::NoValue" {
            return None;
        }
        if let Some(value) = self.pseudo.get(name) {
            return Some(Node::text(line, value.clone()));
        }
        if let Some(value) = self.parameters.get(name) {
            if value.is_none() {
                report.warn(
                    line,
                    format!("the parameter {name} has no default; what refers to it is left out"),
                );
            }
            return value
                .clone()
                .filter(|value| self.produce(weight(value), line, report));
        }
        match self.resources.get(name) {
            Some(known) => {
                if known.kind != super::FUNCTION && known.kind != super::LAYER {
                    report.warn(line, format!(
                        "{name} is not made here ({}); what refers to it gets the text '{name}'",
                        known.kind
                    ));
                }
                Some(Node::text(line, known.name.clone()))
            }
            None => {
                report.warn(line, format!("'{name}' is no parameter or resource of this template; what refers to it is left out"));
                None
            }
        }
    }

    fn attribute(&self, argument: &Node, line: usize, report: &mut Report) -> Option<Node> {
        let texts = self.texts(argument, report);
        let (resource, attribute) = match texts.as_slice() {
            [resource, rest @ ..] if !rest.is_empty() => (resource.clone(), rest.join(".")),
            [one] => one
                .split_once('.')
                .map(|(r, a)| (r.to_owned(), a.to_owned()))?,
            _ => return malformed("Fn::GetAtt", line, report),
        };
        Some(Node::text(
            line,
            self.attribute_text(&resource, &attribute, line, report),
        ))
    }

    fn attribute_text(
        &self,
        resource: &str,
        attribute: &str,
        line: usize,
        report: &mut Report,
    ) -> String {
        if let Some(known) = self
            .resources
            .get(resource)
            .filter(|known| known.kind == super::FUNCTION)
            && attribute == "Arn"
        {
            let place = |name| self.pseudo.get(name).map_or("", String::as_str);
            return format!(
                "arn:aws:lambda:{}:{}:function:{}",
                place("AWS::Region"),
                place("AWS::AccountId"),
                known.name
            );
        }
        report.warn(line, format!(
            "{resource}.{attribute} is not known here; what refers to it gets the text '{resource}.{attribute}'"
        ));
        format!("{resource}.{attribute}")
    }

    /// `${Name}`, `${Resource.Attribute}` and `${!Literal}` in a text.
    fn sub(&self, argument: &Node, line: usize, report: &mut Report) -> Option<Node> {
        let (text, own) = match &argument.value {
            Value::List(items) => (items.first()?.as_text()?, items.get(1).and_then(Node::map)),
            _ => (argument.as_text()?, None),
        };
        let mut result = String::new();
        let mut rest = text.as_ref();
        while let Some((before, after)) = rest.split_once("${") {
            result.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                result.push_str("${");
                rest = after;
                continue;
            };
            rest = after;
            let name = name.trim();
            if let Some(literal) = name.strip_prefix('!') {
                result.push_str(&format!("${{{literal}}}"));
                continue;
            }
            let value = self.placeholder(name, own.unwrap_or_default(), line, report)?;
            if !self.produce(value.len(), line, report) {
                return None;
            }
            result.push_str(&value);
        }
        result.push_str(rest);
        Some(Node::text(line, result))
    }

    fn placeholder(
        &self,
        name: &str,
        own: &[Entry],
        line: usize,
        report: &mut Report,
    ) -> Option<String> {
        if let Some(entry) = own.iter().find(|entry| entry.key == name) {
            let value = self.resolve(&entry.value, report)?;
            return value.as_text().map(|text| text.into_owned());
        }
        if let Some((resource, attribute)) = name.split_once('.') {
            return Some(self.attribute_text(resource, attribute, line, report));
        }
        let value = self.reference(name, line, report)?;
        value.as_text().map(|text| text.into_owned())
    }

    fn join(&self, argument: &Node, line: usize, report: &mut Report) -> Option<Node> {
        let [separator, items] = argument.list()? else {
            return malformed("Fn::Join", line, report);
        };
        let separator = separator.as_text()?;
        let texts = self.texts(items, report);
        let bytes = texts.iter().map(|text| text.len() + separator.len()).sum();
        self.produce(bytes, line, report)
            .then(|| Node::text(line, texts.join(&separator)))
    }

    fn select(&self, argument: &Node, line: usize, report: &mut Report) -> Option<Node> {
        let [index, items] = argument.list()? else {
            return malformed("Fn::Select", line, report);
        };
        let index = self
            .resolve(index, report)?
            .as_text()?
            .parse::<usize>()
            .ok();
        let items = self.resolve(items, report)?;
        let chosen = index.and_then(|index| items.list()?.get(index).cloned());
        chosen.or_else(|| malformed("Fn::Select", line, report))
    }

    fn split(&self, argument: &Node, line: usize, report: &mut Report) -> Option<Node> {
        let [separator, text] = argument.list()? else {
            return malformed("Fn::Split", line, report);
        };
        let separator = separator.as_text()?;
        let text = self.resolve(text, report)?;
        let text = text.as_text()?;
        if separator.is_empty() {
            return malformed("Fn::Split", line, report);
        }
        let items = text
            .split(separator.as_ref())
            .map(|part| Node::text(line, part))
            .collect();
        Some(Node {
            line,
            value: Value::List(items),
        })
    }

    fn find_in_map(&self, argument: &Node, line: usize, report: &mut Report) -> Option<Node> {
        let texts = self.texts(argument, report);
        let [map, first, second] = texts.as_slice() else {
            return malformed("Fn::FindInMap", line, report);
        };
        let found = self
            .mappings
            .and_then(|all| all.get(map)?.get(first)?.get(second));
        if found.is_none() {
            report.warn(
                line,
                format!(
                    "the mappings hold no {map}.{first}.{second}; what refers to it is left out"
                ),
            );
        }
        found
            .cloned()
            .filter(|value| self.produce(weight(value), line, report))
    }

    /// The resolved texts of a list; a single text is a list of one.
    fn texts(&self, node: &Node, report: &mut Report) -> Vec<String> {
        let Some(node) = self.resolve(node, report) else {
            return Vec::new();
        };
        let one = std::slice::from_ref(&node);
        let items = node.list().unwrap_or(one).iter();
        items
            .filter_map(Node::as_text)
            .map(|text| text.into_owned())
            .collect()
    }

    /// Whether a named condition holds.
    pub(crate) fn condition(&self, name: &str, line: usize, report: &mut Report) -> bool {
        self.named_condition(name, line, report, 0)
    }

    fn named_condition(&self, name: &str, line: usize, report: &mut Report, depth: usize) -> bool {
        if depth > CONDITION_DEPTH_MAX {
            report.warn(
                line,
                format!("the condition {name} asks for itself; it is taken as false"),
            );
            return false;
        }
        match self.conditions.get(name) {
            Some(node) => self.holds(node, report, depth + 1),
            None => {
                report.warn(
                    line,
                    format!("there is no condition {name}; it is taken as false"),
                );
                false
            }
        }
    }

    fn holds(&self, node: &Node, report: &mut Report, depth: usize) -> bool {
        let Some([Entry { key, value, .. }]) = node.map() else {
            return node.as_bool().unwrap_or(false);
        };
        let parts = value.list().unwrap_or_default();
        match key.as_str() {
            "Condition" => value
                .as_text()
                .is_some_and(|name| self.named_condition(&name, value.line, report, depth)),
            "Fn::Not" => parts
                .first()
                .is_some_and(|part| !self.holds(part, report, depth)),
            "Fn::And" => parts.iter().all(|part| self.holds(part, report, depth)),
            "Fn::Or" => parts.iter().any(|part| self.holds(part, report, depth)),
            "Fn::Equals" => {
                let mut text = |part: &Node| {
                    self.resolve(part, report)?
                        .as_text()
                        .map(|text| text.into_owned())
                };
                match parts {
                    [left, right] => text(left) == text(right),
                    _ => false,
                }
            }
            _ => {
                report.unsupported(node.line, format!("the intrinsic function {key}"), None);
                false
            }
        }
    }
}

/// The value of a parameter: chosen, or its default; a list where its type says so.
fn parameter(entry: &Entry, options: &Options) -> Option<Node> {
    let kind = entry
        .value
        .get("Type")
        .and_then(Node::as_text)
        .unwrap_or_default();
    let default = entry.value.get("Default").and_then(Node::as_text);
    let chosen = options
        .parameters
        .get(&entry.key)
        .map(|value| value.as_str().into());
    let text = chosen.or(default)?;
    if kind == "CommaDelimitedList" || kind.starts_with("List<") {
        let items = text
            .split(',')
            .map(|item| Node::text(entry.line, item.trim()))
            .collect();
        return Some(Node {
            line: entry.line,
            value: Value::List(items),
        });
    }
    // The default of such a parameter is the name of something kept in AWS, not the value.
    (!kind.starts_with("AWS::SSM::")).then(|| Node::text(entry.line, text))
}

/// The first `{{resolve:service:name}}` in a text, which CloudFormation would replace.
fn dynamic_reference(text: &str) -> Option<&str> {
    let start = text.find("{{resolve:")?;
    let rest = text.get(start..)?;
    let end = rest.find("}}")?;
    rest.get(..end + "}}".len())
}

fn weight(node: &Node) -> usize {
    match &node.value {
        Value::Text { text, .. } => text.len() + 1,
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| entry.key.len() + weight(&entry.value))
            .sum(),
    }
}

fn malformed<T>(function: &str, line: usize, report: &mut Report) -> Option<T> {
    report.warn(
        line,
        format!("{function} does not have the form that it should; it is left out"),
    );
    None
}
