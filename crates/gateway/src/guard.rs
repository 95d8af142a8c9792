//! Who may speak to a door, so that a web page open in the developer's browser reaches nothing
//! that is not meant for it: names we know and, for control doors, pages of our own. Credentials
//! are checked elsewhere.

use std::net::IpAddr;

use http::request::Parts;
use http::{Uri, header};
use model::home;

use crate::listen::Peer;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A control call names no host, or several.
    #[error("a control call needs one Host header")]
    NoHost,
    /// The name it was addressed to is not ours: a rebound name, or one not yet allowed.
    #[error("requests may not be addressed to '{host}'; allow it with --allow-host {host}")]
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
/// `allow_hosts` are further names, without ports; inside sandboxes those of the cloud are ours.
pub fn check(request: &Parts, allow_hosts: &[String]) -> Result<(), Refusal> {
    let host = host_of(request).ok_or(Refusal::NoHost)?;
    if !is_ours(&host, allow_hosts) && !leads_home(&host, request) {
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

/// Checks that a request for a door that anybody may knock at is not addressed to a name that
/// was rebound to loopback. `url_id` is of the function that the door leads to.
///
/// Other addresses are reached on purpose only. No foreign page is at an address literal of
/// ours, nor knows a URL's id; what is no browser may leave the name out.
pub fn check_name(
    request: &Parts,
    url_id: Option<&str>,
    allow_hosts: &[String],
) -> Result<(), Refusal> {
    let peer = request.extensions.get::<Peer>();
    if peer.is_some_and(|peer| !peer.local.ip().to_canonical().is_loopback()) {
        return Ok(());
    }
    let Some(host) = host_of(request) else {
        return Ok(());
    };
    let own = |id: &str| url_id.is_some_and(|own| own.eq_ignore_ascii_case(id));
    if is_ours(&host, allow_hosts)
        || leads_home(&host, request)
        || is_address(&host)
        || crate::url::id_of_host(&host).is_some_and(own)
    {
        return Ok(());
    }
    Err(Refusal::ForeignHost { host })
}

/// Whether a name of the cloud's was looked up in a sandbox, where it is nobody else's.
fn leads_home(host: &str, request: &Parts) -> bool {
    let peer = request.extensions.get::<Peer>();
    peer.is_some_and(|peer| peer.instance.is_some()) && home::of(host).is_some()
}

/// The name that a request is addressed to, in lower case, without its port.
pub fn host_of(request: &Parts) -> Option<String> {
    let named = authority_of(request)?;
    let (host, _) = split_port(named);
    Some(host.to_ascii_lowercase())
}

fn authority_of(request: &Parts) -> Option<&str> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let text = match (request.uri.authority(), hosts.next()) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().ok()?,
        (None, None) => return None,
    };
    let named = !split_port(text).0.is_empty();
    (named && hosts.next().is_none()).then_some(text)
}

/// Splits `host:port`, brackets of an IPv6 literal kept.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    // Byte by byte: a search made for long texts would take longer to begin.
    let bytes = authority.as_bytes();
    let literal = bytes.iter().rposition(|byte| *byte == b']');
    let from = literal.map_or(0, |end| end + 1);
    let colon = bytes[from..].iter().position(|byte| *byte == b':');
    match colon.map(|at| from + at) {
        Some(at) => (&authority[..at], Some(&authority[at + 1..])),
        None => (authority, None),
    }
}

fn is_ours(host: &str, allow_hosts: &[String]) -> bool {
    let loopback = ["localhost", "127.0.0.1", "[::1]"];
    loopback.iter().any(|name| name.eq_ignore_ascii_case(host))
        || is_below_localhost(host)
        || allow_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host))
}

fn is_below_localhost(host: &str) -> bool {
    const SUFFIX: &str = ".localhost";
    let start = host.len().checked_sub(SUFFIX.len());
    start
        .and_then(|start| host.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(SUFFIX))
}

fn is_address(host: &str) -> bool {
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    literal.parse::<IpAddr>().is_ok()
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
    scheme && from.as_str().eq_ignore_ascii_case(to) && !is_function_host(to)
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
    fn names_of_the_cloud_are_ours_inside_sandboxes_only() {
        let local = "127.0.0.2:443".parse().unwrap();
        let check = |instance: Option<model::InstanceId>, host: &str| {
            let peer = Peer {
                remote: local,
                local,
                secure: true,
                instance,
            };
            let request = http::Request::post("/")
                .header("host", host)
                .extension(peer);
            let (parts, ()) = request.body(()).unwrap().into_parts();
            super::check(&parts, &[]).is_ok() && check_name(&parts, None, &[]).is_ok()
        };
        let inside = || Some(model::InstanceId::from_random([0; 16]));
        let host = "lambda.us-east-1.amazonaws.com";
        assert!(check(inside(), host) && check(inside(), "STS.amazonaws.com:443"));
        assert!(!check(None, host));
        assert!(!check(inside(), "amazonaws.com.evil.org"));
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
        check_with(&[("host", "")], "needs one Host");
        check_with(&[("host", ":4566")], "needs one Host");
        check_with(
            &[("host", "localhost"), ("host", "evil.example")],
            "needs one Host",
        );
    }

    const URL_ID: &str = "aaaabbbbccccddddaaaabbbbccccdddd";

    fn check_name_of(local: &str, url_id: Option<&str>, host: &str, expected: &str) {
        let peer = Peer {
            remote: local.parse().unwrap(),
            local: local.parse().unwrap(),
            secure: false,
            instance: None,
        };
        let request = http::Request::get("/").header("host", host).extension(peer);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let verdict = match check_name(&parts, url_id, &["dev.example".to_owned()]) {
            Ok(()) => "passes".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        assert!(verdict.contains(expected), "{local} {host}: {verdict}");
    }

    #[test]
    fn doors_for_anybody_answer_to_no_rebound_name() {
        let loopback = "127.0.0.1:4567";
        for host in [
            "localhost:4567",
            "LocalHost",
            "127.0.0.1:4567",
            "192.168.1.5:4567",
            "[::1]:4567",
            "api.localhost",
            "dev.example",
            "",
            &format!("{URL_ID}.lambda-url.us-east-1.on.aws"),
            &format!("{URL_ID}.Lambda-URL.us-east-1.ON.AWS"),
        ] {
            check_name_of(loopback, Some(URL_ID), host, "passes");
        }
        let rebound = "--allow-host evil.example";
        check_name_of(loopback, Some(URL_ID), "evil.example:4567", rebound);
        check_name_of(loopback, None, "evil.example:4566", rebound);
        check_name_of("[::ffff:127.0.0.1]:1", None, "evil.example", rebound);
        let guessed = "abc.lambda-url.us-east-1.evil.example";
        check_name_of(loopback, Some(URL_ID), guessed, "may not be addressed");
        check_name_of("192.168.1.5:4567", Some(URL_ID), "my.example", "passes");
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
        let host = format!("{URL_ID}.lambda-url.us-east-1.localhost:4566");
        let origin = format!("http://{host}");
        check_with(&[("host", &host), ("origin", &origin)], "refused to pages");
    }
}
