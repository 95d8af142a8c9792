//! Sessions as clients ask for them.

use expect_test::{Expect, expect};
use http::Request;
use http_body_util::BodyExt as _;

use super::super::Settings;
use super::*;
use crate::fixture::{Fixture, echo, hello};

fn door(fixture: &Fixture, access: Access) -> Aws {
    let settings = Settings {
        network: model::Network::Outside,
        urls_open: None,
        access,
        account: hello().account,
        region: "us-east-1".parse().unwrap(),
        account_concurrency: 1000,
        endpoint: "http://127.0.0.1:4566".into(),
        moved_urls: std::sync::Arc::default(),
    };
    Aws::new(fixture.engine.clone(), fixture.clock.clone(), settings)
}

fn by(identity: Identity) -> Caller {
    Caller {
        account: identity.account.clone(),
        identity,
        region: "us-east-1".parse().unwrap(),
        request_id: "00000000-0000-4000-8000-000000000000".parse().unwrap(),
    }
}

async fn ask(door: &Aws, who: Identity, form: &str) -> String {
    let (parts, ()) = Request::post("/").body(()).unwrap().into_parts();
    let body = crate::full(form.to_owned());
    let response = door.sts(&by(who), &parts, body).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    format!("{status} {}", String::from_utf8_lossy(&body))
}

/// The text of an element.
fn element<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
    rest.split_once("</").unwrap().0
}

fn instance() -> Identity {
    Identity {
        account: hello().account,
        key: None,
        who: Who::Instance {
            role: "hello-role".into(),
            function: hello(),
            instance: model::InstanceId::from_random([1; 16]),
        },
    }
}

const ROLE: &str = "RoleArn=arn:aws:iam::000000000000:role/team/deployer";

async fn check(access: Access, who: Identity, form: &str, expected: Expect) {
    let fixture = Fixture::new(echo).await;
    let answer = ask(&door(&fixture, access), who, form).await;
    let code = answer.contains("<Code>").then(|| element(&answer, "Code"));
    let shown = match code {
        Some(code) => format!("{} {code}: {}", &answer[..3], element(&answer, "Message")),
        None => format!("{} {}", &answer[..3], element(&answer, "Arn")),
    };
    expected.assert_eq(&shown);
}

#[tokio::test]
async fn callers_are_told_who_they_are() {
    let form = "Action=GetCallerIdentity";
    let owner = Identity::owner(hello().account);
    check(
        Access::Keys,
        owner,
        form,
        expect!["200 arn:aws:iam::000000000000:root"],
    )
    .await;
    check(
        Access::Keys,
        instance(),
        form,
        expect!["200 arn:aws:sts::000000000000:assumed-role/hello-role/hello"],
    )
    .await;
}

#[tokio::test]
async fn a_role_gives_credentials_that_work() {
    let fixture = Fixture::new(echo).await;
    let door = door(&fixture, Access::Keys);
    let (key, _) = fixture
        .engine
        .keys()
        .create(&hello().account, "")
        .await
        .unwrap();
    let who = Identity {
        key: Some(key.id.clone()),
        ..Identity::owner(hello().account)
    };
    let form = format!("Action=AssumeRole&{ROLE}&RoleSessionName=me%40home&DurationSeconds=900");
    let answer = ask(&door, who, &form).await;
    let arn = "arn:aws:sts::000000000000:assumed-role/deployer/me@home";
    assert_eq!(element(&answer, "Arn"), arn);
    assert!(
        element(&answer, "AssumedRoleId").starts_with("AROA"),
        "{answer}"
    );
    let (access_key, token) = (
        element(&answer, "AccessKeyId"),
        element(&answer, "SessionToken"),
    );
    let keys = fixture.engine.keys();
    let (found, secret) = keys.find(access_key, Some(token)).unwrap();
    assert_eq!(secret.reveal(), element(&answer, "SecretAccessKey"));
    assert!(!model::principal::may_control(&found.principal()));
    let told = ask(&door, found, "Action=GetCallerIdentity").await;
    assert_eq!(element(&told, "Arn"), arn);
    assert_eq!(element(&told, "UserId"), element(&answer, "AssumedRoleId"));
    let expires: jiff::Timestamp = element(&answer, "Expiration").parse().unwrap();
    let lasts_s = expires.as_second() - i64::try_from(fixture.clock.now_ms() / 1000).unwrap();
    assert!((890..=900).contains(&lasts_s), "{lasts_s}");
    keys.remove(&hello().account, &key.id).await.unwrap();
    assert!(keys.session(token).is_err(), "it ends with the key");
}

#[tokio::test]
async fn owners_get_sessions_and_nobody_else() {
    let fixture = Fixture::new(echo).await;
    let door = door(&fixture, Access::Keys);
    let owner = Identity::owner(hello().account);
    let answer = ask(&door, owner.clone(), "Action=GetSessionToken").await;
    let session = fixture
        .engine
        .keys()
        .session(element(&answer, "SessionToken"));
    assert_eq!(session, Ok(owner.clone()));
    check(
        Access::Keys,
        instance(),
        "Action=GetSessionToken",
        expect!["403 AccessDenied: Cannot call GetSessionToken with session credentials"],
    )
    .await;
    let long = "Action=GetSessionToken&DurationSeconds=129601";
    check(Access::Keys, owner, long, expect!["400 ValidationError: 1 validation error detected: Value '129601' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to 129600"]).await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_in_the_services_words() {
    let refused = |more: &str| format!("Action=AssumeRole&{ROLE}&RoleSessionName=me{more}");
    let owner = || Identity::owner(hello().account);
    let short = refused("&DurationSeconds=899");
    check(Access::Keys, owner(), &short, expect!["400 ValidationError: 1 validation error detected: Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"]).await;
    let long = refused("&DurationSeconds=43201");
    check(Access::Keys, owner(), &long, expect!["400 ValidationError: 1 validation error detected: Value '43201' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to 43200"]).await;
    let none = refused("&DurationSeconds=soon");
    check(
        Access::Keys,
        owner(),
        &none,
        expect!["400 MalformedInput: STRING_VALUE can not be converted to an Integer"],
    )
    .await;
    check(Access::Keys, owner(), &refused("%20too"), expect![[r#"400 ValidationError: 1 validation error detected: Value 'me too' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*"#]]).await;
    let unnamed = format!("Action=AssumeRole&{ROLE}");
    check(Access::Keys, owner(), &unnamed, expect!["400 ValidationError: 1 validation error detected: Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null"]).await;
    let nobody = "Action=AssumeRole&RoleSessionName=me";
    check(Access::Keys, owner(), nobody, expect!["400 ValidationError: 1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null"]).await;
    let user = "Action=AssumeRole&RoleSessionName=me&RoleArn=arn:aws:iam::000000000000:user/me";
    check(
        Access::Keys,
        owner(),
        user,
        expect!["400 ValidationError: arn:aws:iam::000000000000:user/me is invalid"],
    )
    .await;
    check(Access::Keys, owner(), &refused("&Policy={%22Statement%22:[]}"), expect!["403 AccessDenied: session policies have no effect here yet: without one the session may do what its account may"]).await;
    for (policy, said) in [
        (
            "{",
            expect!["400 MalformedPolicyDocument: The policy is not in the valid JSON format."],
        ),
        (
            "{}",
            expect!["400 MalformedPolicyDocument: Syntax errors in policy."],
        ),
    ] {
        let form = refused(&format!("&Policy={policy}"));
        check(Access::Keys, owner(), &form, said).await;
    }
    let chained = refused("&DurationSeconds=3601");
    check(Access::Keys, instance(), &chained, expect!["400 ValidationError: The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."]).await;
    let other = ROLE.replace("000000000000", "111111111111");
    let other = format!("Action=AssumeRole&{other}&RoleSessionName=me");
    check(Access::Keys, owner(), &other, expect!["403 AccessDenied: User: arn:aws:iam::000000000000:root is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111111111111:role/team/deployer"]).await;
    check(
        Access::Anybody,
        owner(),
        &other,
        expect!["200 arn:aws:sts::111111111111:assumed-role/deployer/me"],
    )
    .await;
}
