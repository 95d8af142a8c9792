//! Code signing configs and event source mappings, of which there are none yet: what is asked of
//! one by name is told that it is not there.

use http::{Response, StatusCode};

use super::error::{Refusal, kind};
use super::shapes::*;
use super::{Ask, empty};
use crate::Body;
use crate::aws::Aws;

impl Aws {
    pub(super) fn get_code_signing(
        &self,
        ask: &Ask<'_>,
        request: GetFunctionCodeSigningConfigRequest,
    ) -> Result<GetFunctionCodeSigningConfigResponse, Refusal> {
        let function = self.found(ask, &ask.whole(&request.function_name)?)?;
        Ok(GetFunctionCodeSigningConfigResponse {
            function_name: Some(function.id.name.to_string()),
            ..GetFunctionCodeSigningConfigResponse::default()
        })
    }

    pub(super) fn put_code_signing(
        &self,
        ask: &Ask<'_>,
        request: PutFunctionCodeSigningConfigRequest,
    ) -> Result<PutFunctionCodeSigningConfigResponse, Refusal> {
        self.found(ask, &ask.unqualified(&request.function_name)?)?;
        Err(no_code_signing_config(&request.code_signing_config_arn))
    }

    pub(super) fn delete_code_signing(
        &self,
        ask: &Ask<'_>,
        request: DeleteFunctionCodeSigningConfigRequest,
    ) -> Result<Response<Body>, Refusal> {
        self.found(ask, &ask.unqualified(&request.function_name)?)?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}

/// What is told of a config that a function is to have.
pub(super) fn no_code_signing_config(arn: &str) -> Refusal {
    let message = format!(
        "The code signing configuration cannot be found. Check that the provided code signing configuration is not deleted: {arn}."
    );
    Refusal::new(kind::CODE_SIGNING_CONFIG_NOT_FOUND, message)
}

/// What is told of a config that is asked for itself.
pub(super) fn missing_config(arn: &str) -> Refusal {
    let message = format!("The Lambda code signing configuration {arn} can not be found.");
    Refusal::new(kind::RESOURCE_NOT_FOUND, message)
}

/// What is told of an event source mapping.
pub(super) fn missing_mapping() -> Refusal {
    let message = "The resource you requested does not exist.";
    Refusal::new(kind::RESOURCE_NOT_FOUND, message)
}
