//! Which function a request names: in its path, its qualifier, its signature's region.

use std::sync::Arc;

use engine::verb::FunctionView;
use model::principal::may_use;
use model::{FunctionRef, InvalidName, Principal, Qualifier, VersionId};

use super::super::Aws;
use super::error::{self, Refusal, kind};
use super::{Ask, invalid};

/// As the service model has it, for the error that quotes it.
const NAME_PATTERN: &str = "Member must satisfy regular expression pattern: \
    (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?\
    (\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";

/// What is told of a version or an alias where only a function will do.
pub(super) const UNQUALIFIED: &str = "This operation is permitted on Lambda functions only. \
    Aliases and versions do not support this operation. Please specify either a function name or \
    an unqualified function ARN.";

impl Ask<'_> {
    pub(super) fn principal(&self) -> Principal {
        self.caller.identity.principal()
    }

    /// The function that a name in the path names, with the qualifier of that or of the query.
    pub(super) fn target(
        &self,
        name: &str,
        qualifier: Option<&str>,
    ) -> Result<FunctionRef, Refusal> {
        let mut target = model::arn::parse(name, &self.caller.account, &self.caller.region)
            .map_err(|error| Refusal::constraint(name, "functionName", broken_rule(&error)))?;
        if target.function.region != self.caller.region {
            let message = format!(
                "Functions from '{}' are not reachable in this region ('{}')",
                target.function.region, self.caller.region
            );
            return Err(Refusal::new(kind::RESOURCE_NOT_FOUND, message));
        }
        if let Some(asked) = qualifier {
            let qualifier: Qualifier = asked.parse().map_err(|_| {
                let rule = "Member must satisfy regular expression pattern: \
                            (|[a-zA-Z0-9$_-]+)";
                Refusal::constraint(asked, "qualifier", rule)
            })?;
            if target.qualifier != Qualifier::Absent && target.qualifier != qualifier {
                return Err(invalid(
                    "The derived qualifier from the function name does not match the specified \
                     qualifier.",
                ));
            }
            target.qualifier = qualifier;
        }
        Ok(target)
    }

    /// The function that an operation changes which knows no versions.
    pub(super) fn unqualified(&self, name: &str) -> Result<FunctionRef, Refusal> {
        let target = self.target(name, None)?;
        match target.qualifier {
            Qualifier::Absent | Qualifier::Version(VersionId::Latest) => {
                Ok(target.function.unqualified())
            }
            _ => Err(invalid(UNQUALIFIED)),
        }
    }

    /// The function without any qualifier, for operations on the function as a whole.
    pub(super) fn whole(&self, name: &str) -> Result<FunctionRef, Refusal> {
        Ok(self.target(name, None)?.function.unqualified())
    }
}

/// The rule of the service model that a name breaks: its length, where only that is wrong.
fn broken_rule(error: &InvalidName) -> &'static str {
    let name = &error.value;
    let mut bytes = name.bytes();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if error.kind == "function name" && name.len() > 64 && bytes.all(fits) {
        "Member must have length less than or equal to 64"
    } else {
        NAME_PATTERN
    }
}

impl Aws {
    /// The version that the request leads to, for a caller who may read it.
    pub(super) fn found(
        &self,
        ask: &Ask<'_>,
        target: &FunctionRef,
    ) -> Result<Arc<FunctionView>, Refusal> {
        self.found_or(ask, target, || {
            Refusal::not_found(&model::arn::reference(target))
        })
    }

    /// The same, where the service has other words for what is not there.
    pub(super) fn found_or(
        &self,
        ask: &Ask<'_>,
        target: &FunctionRef,
        missing: impl FnOnce() -> Refusal,
    ) -> Result<Arc<FunctionView>, Refusal> {
        if !may_use(&ask.principal(), &target.function.account) {
            return Err(Refusal::denied(model::arn::reference(target)));
        }
        self.engine.find(target).map_err(|error| {
            if error::is_miss(&error) {
                missing()
            } else {
                Refusal::of(&error, target)
            }
        })
    }

    /// The same, where the service tells of an alias that is not there in words of its own.
    pub(super) fn found_or_alias(
        &self,
        ask: &Ask<'_>,
        target: &FunctionRef,
    ) -> Result<(), Refusal> {
        let arn = model::arn::reference(target);
        let missing = || match target.qualifier {
            Qualifier::Alias(_) => {
                let message = format!("Cannot find alias arn: {arn}");
                Refusal::new(kind::RESOURCE_NOT_FOUND, message)
            }
            _ => Refusal::not_found(&arn),
        };
        self.found(ask, &target.function.unqualified())?;
        self.found_or(ask, target, missing).map(drop)
    }
}
