//! The properties of one function, merged and resolved, into a plan.

use std::time::Duration;

use model::Runtime;

use super::name;
use super::settings::texts;
use crate::error::Error;
use crate::project::FunctionPlan;
use crate::template::yaml::Node;
use crate::template::{Context, Resource};

pub(super) struct Reader<'a, 'b> {
    pub(super) resource: &'a Resource<'a>,
    pub(super) properties: &'a Node,
    pub(super) context: &'a mut Context<'b>,
}

impl Reader<'_, '_> {
    pub(super) fn read(&mut self) -> Result<Option<FunctionPlan>, Error> {
        let id = self.resource.id;
        if self.text("PackageType").is_some_and(|kind| kind == "Image") {
            return Ok(self.leave_out("PackageType", "container images cannot run here"));
        }
        let Some(runtime) = self.runtime()? else {
            return Ok(None);
        };
        let name = name(
            self.resource,
            &self.context.resolver,
            &mut self.context.report,
        );
        let name = name.parse().map_err(|error: model::InvalidName| {
            self.error("FunctionName", &format!("{error}; set FunctionName"))
        })?;
        let handler = match self.text("Handler") {
            Some(handler) => handler,
            None if runtime.is_provided() => "bootstrap".to_owned(),
            None => return Err(self.error("Properties", &format!("{id} has no Handler"))),
        };
        let Some((source, build)) = self.source(runtime, &handler)? else {
            return Ok(None);
        };
        let mut plan = FunctionPlan::new(name, runtime, handler, source, build);
        plan.description = self.text("Description").unwrap_or_default();
        plan.memory_mb = self.number("MemorySize")?.unwrap_or(plan.memory_mb);
        if let Some(seconds) = self.number("Timeout")? {
            plan.timeout = Duration::from_secs(seconds.into());
        }
        plan.reserved_concurrency = self.number("ReservedConcurrentExecutions")?;
        let properties = self.properties;
        if let Some(size) = properties
            .get("EphemeralStorage")
            .and_then(|storage| storage.get("Size"))
        {
            plan.tmp_mb = self.as_number(size, "EphemeralStorage.Size")?;
        }
        self.environment(&mut plan)?;
        self.layers(&mut plan)?;
        self.logging(&mut plan)?;
        self.url(&mut plan)?;
        self.architectures();
        Ok(Some(plan))
    }

    pub(super) fn line(&self, property: &str) -> usize {
        let entry = self
            .properties
            .map()
            .unwrap_or_default()
            .iter()
            .find(|entry| entry.key == property);
        entry.map_or(self.resource.line, |entry| entry.line)
    }

    pub(super) fn error(&self, property: &str, problem: &str) -> Error {
        self.context.report.error(self.line(property), problem)
    }

    pub(super) fn leave_out<T>(&mut self, property: &str, why: &str) -> Option<T> {
        let line = self.line(property);
        self.context
            .report
            .warn(line, format!("{} is left out: {why}", self.resource.id));
        None
    }

    pub(super) fn text(&self, property: &str) -> Option<String> {
        let node = self
            .properties
            .get(property)
            .filter(|node| !node.is_null())?;
        node.as_text().map(|text| text.into_owned())
    }

    pub(super) fn number(&self, property: &str) -> Result<Option<u32>, Error> {
        match self.properties.get(property).filter(|node| !node.is_null()) {
            Some(node) => self.as_number(node, property).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn as_number(&self, node: &Node, property: &str) -> Result<u32, Error> {
        let number = node.as_text().and_then(|text| text.parse().ok());
        number.ok_or_else(|| {
            self.context.report.error(
                node.line,
                &format!("{property} of {} must be a whole number", self.resource.id),
            )
        })
    }

    pub(super) fn runtime(&mut self) -> Result<Option<Runtime>, Error> {
        let Some(text) = self.text("Runtime") else {
            return Err(self.error(
                "Properties",
                &format!("{} has no Runtime", self.resource.id),
            ));
        };
        match text.parse() {
            Ok(runtime) => Ok(Some(runtime)),
            Err(_) => Ok(self.leave_out(
                "Runtime",
                &format!(
                    "the runtime {text} cannot run here; python3.9 to python3.14, nodejs18.x to \
                 nodejs24.x, provided.al2 and provided.al2023 can"
                ),
            )),
        }
    }
    pub(super) fn environment(&mut self, plan: &mut FunctionPlan) -> Result<(), Error> {
        let variables = self
            .properties
            .get("Environment")
            .and_then(|all| all.get("Variables"));
        for entry in variables.and_then(Node::map).unwrap_or_default() {
            let Some(text) = entry.value.as_text() else {
                let problem = format!(
                    "the variable {} of {} must be text",
                    entry.key, self.resource.id
                );
                return Err(self.context.report.error(entry.line, &problem));
            };
            let text = if entry.value.is_null() {
                String::new()
            } else {
                text.into_owned()
            };
            plan.environment.insert(entry.key.clone(), text);
        }
        Ok(())
    }

    pub(super) fn layers(&mut self, plan: &mut FunctionPlan) -> Result<(), Error> {
        let Some(layers) = self
            .properties
            .get("Layers")
            .filter(|layers| !layers.is_null())
        else {
            return Ok(());
        };
        let Some(layers) = layers.list() else {
            return Err(self.error("Layers", "Layers must be a list"));
        };
        for layer in layers {
            let name = layer.as_text().unwrap_or_default();
            match self.context.layers.get(name.as_ref()) {
                Some(known) => plan.layers.push(known.clone()),
                None if self.context.faulty_layers.contains(name.as_ref()) => {
                    let problem = format!("its layer {name} cannot be read");
                    return Err(self.context.report.error(layer.line, &problem));
                }
                None => self.context.report.warn(
                    layer.line,
                    format!(
                        "the layer {name} of {} is not in this template; it is left out",
                        self.resource.id
                    ),
                ),
            }
        }
        Ok(())
    }

    pub(super) fn architectures(&mut self) {
        let host = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x86_64"
        };
        let asked = self
            .properties
            .get("Architectures")
            .map(texts)
            .unwrap_or_default();
        if let Some(other) = asked.iter().find(|asked| *asked != host) {
            let line = self.line("Architectures");
            self.context.report.warn(
                line,
                format!(
                    "{} asks for {other}; it is built for and runs on {host}, which this host is",
                    self.resource.id
                ),
            );
        }
    }
}
