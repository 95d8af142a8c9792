//! Who may speak to a control door: names we know and pages of our own, so that a web page
//! open in the developer's browser reaches no control call. Credentials are checked elsewhere.

use http::request::Parts;
use http::{Uri, header};

/// Why a control call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request says of no host, or of several.
    #[error("a control call needs one Host header")]
    NoHost,
    /// The name it was addressed to is not ours: a rebound name, or one not yet allowed.
    #[error("control calls may not be addressed to '{host}'; allow it with --allow-host {host}")]
    ForeignHost {
        /// The name, without its port.
        host: String,
    },
    /// A page of another origin sent it.
    #[error("control calls are refused to pages of {origin}")]
    ForeignOrigin {
        /// As the browser named it.
        origin: String,
    },
}

/// Checks that a control call is addressed to a name of ours and comes from no foreign page.
/// `allow_hosts` are further names, without ports.
pub fn check(request: &Parts, allow_hosts: &[String]) -> Result<(), Refusal> {
    let host = host_of(request).ok_or(Refusal::NoHost)?;
    if !is_ours(&host, allow_hosts) {
        return Err(Refusal::ForeignHost { host });
    }
    for origin in request.headers.get_all(header::ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .is_some_and(|origin| is_same_origin(origin, request));
        if !own {
            let origin = String::from_utf8_lossy(origin.as_bytes())
                .chars()
                .take(200)
                .collect();
            return Err(Refusal::ForeignOrigin { origin });
        }
    }
    // Browsers say so even of requests that carry no Origin, such as images and navigations.
    let site = request
        .headers
        .get("sec-fetch-site")
        .map(|value| value.as_bytes());
    match site {
        Some(b"cross-site" | b"same-site") => Err(Refusal::ForeignOrigin {
            origin: "another site".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The name that a request is addressed to, in lower case, without its port.
pub fn host_of(request: &Parts) -> Option<String> {
    let named = authority_of(request)?;
    let (host, _) = split_port(&named);
    Some(host.to_ascii_lowercase())
}

fn authority_of(request: &Parts) -> Option<String> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let text = match (request.uri.authority(), hosts.next()) {
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) => host.to_str().ok()?.to_owned(),
        (None, None) => return None,
    };
    if hosts.next().is_some() {
        None
    } else {
        Some(text)
    }
}

/// Splits `host:port`, brackets of an IPv6 literal kept.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let after_literal = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after_literal..].split_once(':') {
        Some((_, port)) => (&authority[..authority.len() - port.len() - 1], Some(port)),
        None => (authority, None),
    }
}

fn is_ours(host: &str, allow_hosts: &[String]) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
        || host.ends_with(".localhost")
        || allow_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host))
}

/// A page that was served by exactly the host and port that it now speaks to.
fn is_same_origin(origin: &str, request: &Parts) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else {
        return false;
    };
    let (Some(from), Some(to)) = (uri.authority(), authority_of(request)) else {
        return false;
    };
    // Functions answer at names of their own below localhost: their pages are foreign here
    // because those names are not the one that the control call is addressed to.
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    scheme && from.as_str().eq_ignore_ascii_case(&to) && !is_function_host(&to)
}

fn is_function_host(authority: &str) -> bool {
    crate::url::id_of_host(authority).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(headers: &[(&str, &str)], expected: &str) {
        let mut request = http::Request::builder().uri("/_dayfly/v1/functions");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let verdict = match check(&parts, &["dev.example".to_owned()]) {
            Ok(()) => "passes".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        assert!(verdict.contains(expected), "{headers:?}: {verdict}");
    }

    #[test]
    fn names_of_ours_pass() {
        for host in [
            "localhost:4566",
            "127.0.0.1:4566",
            "[::1]:4566",
            "api.localhost",
            "DEV.example:1",
        ] {
            check_with(&[("host", host)], "passes");
        }
    }

    #[test]
    fn rebound_names_are_refused() {
        check_with(
            &[("host", "evil.example:4566")],
            "--allow-host evil.example",
        );
        check_with(
            &[("host", "localhost.evil.example")],
            "may not be addressed",
        );
        check_with(&[], "needs one Host");
        check_with(
            &[("host", "localhost"), ("host", "evil.example")],
            "needs one Host",
        );
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = ("host", "127.0.0.1:4566");
        check_with(&[host, ("origin", "http://127.0.0.1:4566")], "passes");
        check_with(
            &[host, ("origin", "http://127.0.0.1:8080")],
            "refused to pages",
        );
        check_with(
            &[host, ("origin", "https://evil.example")],
            "refused to pages",
        );
        check_with(&[host, ("origin", "null")], "refused to pages");
        check_with(
            &[host, ("sec-fetch-site", "cross-site")],
            "refused to pages",
        );
        check_with(&[host, ("sec-fetch-site", "same-origin")], "passes");
    }

    #[test]
    fn pages_that_functions_serve_are_foreign() {
        let host = "aaaabbbbccccddddaaaabbbbccccdddd.lambda-url.us-east-1.localhost:4566";
        let origin = format!("http://{host}");
        check_with(&[("host", host), ("origin", &origin)], "refused to pages");
    }
}
