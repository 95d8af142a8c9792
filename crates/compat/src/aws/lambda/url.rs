//! Operations on function URLs.

use engine::Error;
use engine::verb::{Expected, UrlSettings};
use http::{Response, StatusCode};
use model::{FunctionRef, Qualifier, UrlAuth, UrlConfig};

use super::error::{Refusal, is_miss, kind};
use super::list::Page;
use super::shapes::choice::{FunctionUrlAuthType, InvokeMode};
use super::shapes::*;
use super::{Ask, configuration, empty, invalid};
use crate::Body;
use crate::aws::Aws;

/// URLs shown at once where the caller does not say.
const PAGE: usize = 50;

impl Aws {
    pub(super) async fn create_url(
        &self,
        ask: &Ask<'_>,
        request: CreateFunctionUrlConfigRequest,
    ) -> Result<CreateFunctionUrlConfigResponse, Refusal> {
        let target = url_target(ask, &request.function_name, request.qualifier.as_deref())?;
        let settings = UrlSettings {
            cors: request.cors.map(cors),
            invoke_mode: invoke_mode(request.invoke_mode.as_ref()),
            auth: auth(&request.auth_type),
        };
        let url = self
            .set_url(ask, &target, Expected::Absent, settings)
            .await?;
        let shown = self.show_url(&target, &url);
        Ok(CreateFunctionUrlConfigResponse {
            function_url: shown.function_url,
            function_arn: shown.function_arn,
            auth_type: shown.auth_type,
            cors: shown.cors,
            creation_time: shown.creation_time,
            // Only who chose it is told it here.
            invoke_mode: request.invoke_mode.and(shown.invoke_mode),
        })
    }

    pub(super) async fn update_url(
        &self,
        ask: &Ask<'_>,
        request: UpdateFunctionUrlConfigRequest,
    ) -> Result<UpdateFunctionUrlConfigResponse, Refusal> {
        let target = url_target(ask, &request.function_name, request.qualifier.as_deref())?;
        self.found_or(ask, &target, no_function)?;
        let before = self.url(ask, &target)?;
        let settings = UrlSettings {
            cors: request.cors.map(cors).or(before.cors),
            invoke_mode: match &request.invoke_mode {
                Some(given) => invoke_mode(Some(given)),
                None => before.invoke_mode,
            },
            auth: request.auth_type.as_ref().map_or(before.auth, auth),
        };
        let url = self
            .set_url(ask, &target, Expected::Present, settings)
            .await?;
        let shown = self.show_url(&target, &url);
        Ok(UpdateFunctionUrlConfigResponse {
            function_url: shown.function_url,
            function_arn: shown.function_arn,
            auth_type: shown.auth_type,
            cors: shown.cors,
            creation_time: shown.creation_time,
            last_modified_time: shown.last_modified_time,
            invoke_mode: request.invoke_mode.and(shown.invoke_mode),
        })
    }

    pub(super) async fn delete_url(
        &self,
        ask: &Ask<'_>,
        request: DeleteFunctionUrlConfigRequest,
    ) -> Result<Response<Body>, Refusal> {
        let target = url_target(ask, &request.function_name, request.qualifier.as_deref())?;
        let who = ask.principal();
        let removed = self.engine.set_url(&who, &target, Expected::Present, None);
        removed.await.map_err(|error| refusal(&error, &target))?;
        self.urls_opened().await;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn get_url(
        &self,
        ask: &Ask<'_>,
        request: GetFunctionUrlConfigRequest,
    ) -> Result<FunctionUrlConfig, Refusal> {
        let target = url_target(ask, &request.function_name, request.qualifier.as_deref())?;
        let url = self.url(ask, &target)?;
        Ok(self.show_url(&target, &url))
    }

    pub(super) fn list_urls(
        &self,
        ask: &Ask<'_>,
        request: ListFunctionUrlConfigsRequest,
    ) -> Result<ListFunctionUrlConfigsResponse, Refusal> {
        let page = Page::of(request.max_items, request.marker.as_deref(), PAGE)?;
        let target = ask.whole(&request.function_name)?;
        self.found_or(ask, &target, no_function)?;
        let urls = self.engine.urls(&target.function);
        let urls = urls.map_err(|error| Refusal::of(&error, &target))?;
        let shown = urls.iter().map(|(target, url)| self.show_url(target, url));
        let (function_url_configs, next_marker) = page.cut(shown.collect());
        Ok(ListFunctionUrlConfigsResponse {
            function_url_configs,
            next_marker,
        })
    }

    async fn set_url(
        &self,
        ask: &Ask<'_>,
        target: &FunctionRef,
        expected: Expected,
        settings: UrlSettings,
    ) -> Result<UrlConfig, Refusal> {
        self.found_or(ask, target, no_function)?;
        let who = ask.principal();
        let set = self.engine.set_url(&who, target, expected, Some(settings));
        let url = set.await.map_err(|error| refusal(&error, target))?;
        let url = url.ok_or_else(missing)?;
        self.urls_opened().await;
        Ok(self.current(target).unwrap_or(url))
    }

    /// Resolves once the ports of all URLs so far are open, so that whoever is told of one finds
    /// it.
    async fn urls_opened(&self) {
        let wanted = *self.engine.watch().borrow();
        if let Some(mut open) = self.settings.urls_open.clone() {
            // An error means that the node ends.
            let _ = open.wait_for(|opened| *opened >= wanted).await;
        }
    }

    fn url(&self, ask: &Ask<'_>, target: &FunctionRef) -> Result<UrlConfig, Refusal> {
        self.found_or(ask, target, missing)?;
        self.current(target).ok_or_else(missing)
    }

    fn current(&self, target: &FunctionRef) -> Option<UrlConfig> {
        let urls = self.engine.urls(&target.function).ok()?;
        let mut urls = urls.into_iter();
        urls.find(|(known, _)| known == target).map(|(_, url)| url)
    }

    fn show_url(&self, target: &FunctionRef, url: &UrlConfig) -> FunctionUrlConfig {
        let endpoint: http::Uri = self.settings.endpoint.parse().unwrap_or_default();
        let host = endpoint.host().unwrap_or("127.0.0.1");
        let scheme = endpoint.scheme_str().unwrap_or("http");
        let function_url = match self.settings.port_of(url) {
            Some(port) => format!("{scheme}://{host}:{port}/"),
            None => url.by_name(&target.function.region, &self.settings.endpoint),
        };
        FunctionUrlConfig {
            function_url: Some(function_url),
            function_arn: Some(model::arn::reference(target)),
            auth_type: Some(url.auth.as_str().to_owned().into()),
            cors: url.cors.as_ref().map(shown_cors),
            creation_time: Some(configuration::iso_time(url.created_ms)),
            last_modified_time: Some(configuration::iso_time(url.changed_ms)),
            invoke_mode: Some(url.invoke_mode.as_str().to_owned().into()),
        }
    }
}

/// The function or the alias; a URL belongs to no version.
fn url_target(ask: &Ask<'_>, name: &str, qualifier: Option<&str>) -> Result<FunctionRef, Refusal> {
    let target = ask.target(name, qualifier)?;
    match target.qualifier {
        Qualifier::Version(_) => Err(invalid(
            "Function URLs are of functions and their aliases; a version has none.",
        )),
        _ => Ok(target),
    }
}

fn auth(given: &FunctionUrlAuthType) -> UrlAuth {
    match given {
        FunctionUrlAuthType::AwsIam => UrlAuth::Signed,
        _ => UrlAuth::Nobody,
    }
}

fn invoke_mode(given: Option<&InvokeMode>) -> model::InvokeMode {
    match given {
        Some(InvokeMode::ResponseStream) => model::InvokeMode::ResponseStream,
        _ => model::InvokeMode::Buffered,
    }
}

fn cors(given: Cors) -> model::Cors {
    model::Cors {
        allow_credentials: given.allow_credentials == Some(true),
        allow_headers: given.allow_headers.unwrap_or_default(),
        allow_methods: given.allow_methods.unwrap_or_default(),
        allow_origins: given.allow_origins.unwrap_or_default(),
        expose_headers: given.expose_headers.unwrap_or_default(),
        max_age_s: given.max_age.and_then(|age| u32::try_from(age).ok()),
    }
}

fn shown_cors(cors: &model::Cors) -> Cors {
    let list = |items: &Vec<String>| (!items.is_empty()).then(|| items.clone());
    Cors {
        allow_credentials: cors.allow_credentials.then_some(true),
        allow_headers: list(&cors.allow_headers),
        allow_methods: list(&cors.allow_methods),
        allow_origins: list(&cors.allow_origins),
        expose_headers: list(&cors.expose_headers),
        max_age: cors.max_age_s.map(super::integer),
    }
}

fn no_function() -> Refusal {
    Refusal::new(kind::RESOURCE_NOT_FOUND, "Function does not exist")
}

fn missing() -> Refusal {
    let message = "The resource you requested does not exist.";
    Refusal::new(kind::RESOURCE_NOT_FOUND, message)
}

fn refusal(error: &Error, target: &FunctionRef) -> Refusal {
    match error {
        Error::AlreadyThere { .. } => {
            let arn = model::arn::reference(target);
            let message = format!(
                "Failed to create function url config for [functionArn = {arn}]. Error message:  FunctionUrlConfig exists for this Lambda function"
            );
            Refusal::new(kind::RESOURCE_CONFLICT, message)
        }
        missed if matches!(missed, Error::NotThere { .. }) || is_miss(missed) => missing(),
        other => Refusal::of(other, target),
    }
}
