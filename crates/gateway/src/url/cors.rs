//! Cross-origin rules of function URLs: preflights answered and answers marked by the platform.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::Cors;

/// Whether a request is a browser asking what it may send.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a preflight is answered; nothing to an origin that may not call.
pub(super) fn preflight(cors: &Cors, request: &HeaderMap) -> HeaderMap {
    let mut answer = HeaderMap::new();
    if !allow_origin(cors, request, &mut answer) {
        return answer;
    }
    let method = request.get(ACCESS_CONTROL_REQUEST_METHOD);
    let headers = request.get(ACCESS_CONTROL_REQUEST_HEADERS);
    set_list(
        &mut answer,
        ACCESS_CONTROL_ALLOW_METHODS,
        cors,
        &cors.allow_methods,
        method,
    );
    set_list(
        &mut answer,
        ACCESS_CONTROL_ALLOW_HEADERS,
        cors,
        &cors.allow_headers,
        headers,
    );
    if let Some(seconds) = cors.max_age_s {
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
    }
    answer
}

/// Marks an answer for the origin that asked. The rules replace what the function said.
pub(super) fn mark(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) {
    for name in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE,
    ] {
        answer.remove(name);
    }
    if allow_origin(cors, request, answer) {
        set_list(
            answer,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            cors,
            &cors.expose_headers,
            None,
        );
    }
}

fn allow_origin(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) -> bool {
    answer.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = request.get(ORIGIN) else {
        return false;
    };
    let any = cors.allow_origins.iter().any(|allowed| allowed == "*");
    let named = cors
        .allow_origins
        .iter()
        .any(|allowed| allowed.trim_end_matches('/').as_bytes() == origin.as_bytes());
    if !any && !named {
        return false;
    }
    // Browsers take no wildcard together with credentials.
    let wildcard = any && !cors.allow_credentials;
    let value = if wildcard {
        HeaderValue::from_static("*")
    } else {
        origin.clone()
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    if cors.allow_credentials {
        answer.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    true
}

/// Writes a list of rules; a wildcard that browsers would not take repeats what was asked for.
fn set_list(
    answer: &mut HeaderMap,
    name: HeaderName,
    cors: &Cors,
    list: &[String],
    asked: Option<&HeaderValue>,
) {
    let any = list.iter().any(|item| item == "*");
    let value = match asked {
        Some(asked) if any && cors.allow_credentials => Ok(asked.clone()),
        _ => HeaderValue::from_str(&list.join(",")),
    };
    if let Ok(value) = value
        && !value.is_empty()
    {
        answer.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(credentials: bool, origins: &[&str]) -> Cors {
        Cors {
            allow_credentials: credentials,
            allow_headers: vec!["*".into()],
            allow_methods: vec!["GET".into(), "PUT".into()],
            allow_origins: origins.iter().map(|origin| (*origin).into()).collect(),
            expose_headers: vec!["x-total".into()],
            max_age_s: Some(60),
        }
    }

    fn shown(headers: &HeaderMap) -> String {
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .map(|line| line.replace("access-control-", ""))
            .collect();
        lines.sort();
        lines.join(" | ")
    }

    fn asking(origin: &'static str) -> HeaderMap {
        let mut request = HeaderMap::new();
        request.insert(ORIGIN, HeaderValue::from_static(origin));
        request.insert(
            ACCESS_CONTROL_REQUEST_METHOD,
            HeaderValue::from_static("PUT"),
        );
        request.insert(
            ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static("x-a,x-b"),
        );
        request
    }

    #[test]
    fn preflights_are_answered_by_rule() {
        let answer = preflight(&cors(false, &["*"]), &asking("https://a.example"));
        assert_eq!(
            shown(&answer),
            "allow-headers: * | allow-methods: GET,PUT | allow-origin: * | max-age: 60 | vary: Origin"
        );
        let answer = preflight(&cors(true, &["*"]), &asking("https://a.example"));
        assert_eq!(
            shown(&answer),
            "allow-credentials: true | allow-headers: x-a,x-b | allow-methods: GET,PUT | \
             allow-origin: https://a.example | max-age: 60 | vary: Origin"
        );
        let answer = preflight(
            &cors(false, &["https://b.example"]),
            &asking("https://a.example"),
        );
        assert_eq!(shown(&answer), "vary: Origin");
    }

    #[test]
    fn answers_are_marked_and_the_functions_own_marks_replaced() {
        let mut answer = HeaderMap::new();
        answer.insert(
            ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("https://other"),
        );
        mark(
            &cors(false, &["https://a.example/"]),
            &asking("https://a.example"),
            &mut answer,
        );
        assert_eq!(
            shown(&answer),
            "allow-origin: https://a.example | expose-headers: x-total | vary: Origin"
        );
    }
}
