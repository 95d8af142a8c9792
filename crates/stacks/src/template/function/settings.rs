//! How a function logs and how it answers at its URL.

use engine::verb::UrlSettings;
use model::{Cors, InvokeMode, LogFormat, LogLevel, UrlAuth};

use super::reader::Reader;
use crate::error::Error;
use crate::project::FunctionPlan;
use crate::template::yaml::Node;

impl Reader<'_, '_> {
    pub(super) fn logging(&mut self, plan: &mut FunctionPlan) -> Result<(), Error> {
        for entry in self
            .properties
            .get("LoggingConfig")
            .and_then(Node::map)
            .unwrap_or_default()
        {
            let text = entry.value.as_text().unwrap_or_default();
            match entry.key.as_str() {
                "LogFormat" if text == "JSON" => plan.log_format = LogFormat::Json,
                "LogFormat" if text == "Text" => plan.log_format = LogFormat::Text,
                "ApplicationLogLevel" => {
                    match level(&text) {
                        Some(level) => plan.log_level = level,
                        None => return Err(self.context.report.error(
                            entry.line,
                            "ApplicationLogLevel must be TRACE, DEBUG, INFO, WARN, ERROR or FATAL",
                        )),
                    }
                }
                "LogFormat" => {
                    return Err(self
                        .context
                        .report
                        .error(entry.line, "LogFormat must be Text or JSON"));
                }
                other => self.context.report.unsupported(
                    entry.line,
                    format!("LoggingConfig.{other}"),
                    Some(self.resource.id),
                ),
            }
        }
        Ok(())
    }

    pub(super) fn url(&mut self, plan: &mut FunctionPlan) -> Result<(), Error> {
        let Some(config) = self
            .properties
            .get("FunctionUrlConfig")
            .filter(|config| !config.is_null())
        else {
            return Ok(());
        };
        let mut auth = None;
        let mut cors = None;
        let mut invoke_mode = InvokeMode::default();
        for entry in config.map().unwrap_or_default() {
            match entry.key.as_str() {
                "AuthType" => auth = entry.value.as_text(),
                "Cors" => cors = Some(self.cors(&entry.value)?),
                "InvokeMode" => match entry.value.as_text().as_deref() {
                    Some("BUFFERED") => {}
                    Some("RESPONSE_STREAM") => invoke_mode = InvokeMode::ResponseStream,
                    _ => {
                        return Err(self
                            .context
                            .report
                            .error(entry.line, "InvokeMode must be BUFFERED or RESPONSE_STREAM"));
                    }
                },
                other => {
                    let what = format!("FunctionUrlConfig.{other}");
                    self.context
                        .report
                        .unsupported(entry.line, what, Some(self.resource.id));
                }
            }
        }
        match auth.as_deref() {
            Some("NONE") => {
                let auth = UrlAuth::Nobody;
                plan.url = Some(UrlSettings {
                    cors,
                    invoke_mode,
                    auth,
                });
            }
            Some("AWS_IAM") => {
                let auth = UrlAuth::Signed;
                plan.url = Some(UrlSettings {
                    cors,
                    invoke_mode,
                    auth,
                });
            }
            _ => return Err(self.error("FunctionUrlConfig", "AuthType must be NONE or AWS_IAM")),
        }
        Ok(())
    }

    pub(super) fn cors(&mut self, node: &Node) -> Result<Cors, Error> {
        let mut cors = Cors::default();
        for entry in node.map().unwrap_or_default() {
            let value = &entry.value;
            match entry.key.as_str() {
                "AllowCredentials" => cors.allow_credentials = value.as_bool().unwrap_or(false),
                "AllowHeaders" => cors.allow_headers = texts(value),
                "AllowMethods" => cors.allow_methods = texts(value),
                "AllowOrigins" => cors.allow_origins = texts(value),
                "ExposeHeaders" => cors.expose_headers = texts(value),
                "MaxAge" => cors.max_age_s = Some(self.as_number(value, "Cors.MaxAge")?),
                other => self.context.report.unsupported(
                    entry.line,
                    format!("Cors.{other}"),
                    Some(self.resource.id),
                ),
            }
        }
        Ok(cors)
    }
}

fn level(text: &str) -> Option<LogLevel> {
    use LogLevel::{Debug, Error, Fatal, Info, Trace, Warn};
    [Trace, Debug, Info, Warn, Error, Fatal]
        .into_iter()
        .find(|level| level.as_str() == text)
}

pub(super) fn texts(node: &Node) -> Vec<String> {
    let one = std::slice::from_ref(node);
    let items = node.list().unwrap_or(one).iter();
    items
        .filter_map(Node::as_text)
        .map(|text| text.into_owned())
        .collect()
}
