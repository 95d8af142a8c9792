//! The public Rust clients of Lambda's runtime interfaces, for the tests of the platform's side:
//! a runtime, a runtime behind HTTP, and an extension that takes telemetry. One program, so that
//! one build serves all of them; which it is, its name and `ROLE` say.

use lambda_extension::{LambdaTelemetry, LambdaTelemetryRecord, NextEvent, SharedService};
use lambda_http::{IntoResponse, Request, RequestExt as _};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let program = std::env::args().next().unwrap_or_default();
    if !program.ends_with("/bootstrap") {
        return watch().await;
    }
    match std::env::var("ROLE").as_deref() {
        Ok("http") => lambda_http::run(lambda_http::service_fn(page)).await,
        _ => lambda_runtime::run(lambda_runtime::service_fn(answer)).await,
    }
}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    println!("working");
    if event.payload["fail"] == true {
        return Err("asked to".into());
    }
    Ok(json!({
        "got": event.payload,
        "id": event.context.request_id,
        "arn": event.context.invoked_function_arn,
        "memory": event.context.env_config.memory,
    }))
}

async fn page(request: Request) -> Result<impl IntoResponse, Error> {
    let query = request.query_string_parameters();
    let name = query.first("name").unwrap_or("nobody").to_owned();
    Ok(format!(
        "{} {} for {name}",
        request.method(),
        request.uri().path()
    ))
}

async fn watch() -> Result<(), Error> {
    let telemetry = SharedService::new(lambda_extension::service_fn(take));
    lambda_extension::Extension::new()
        .with_events(&["INVOKE", "SHUTDOWN"])
        .with_events_processor(lambda_extension::service_fn(see))
        .with_telemetry_types(&["platform", "function"])
        .with_telemetry_processor(telemetry)
        .run()
        .await
}

async fn see(event: lambda_extension::LambdaEvent) -> Result<(), Error> {
    match event.next {
        NextEvent::Invoke(invoke) => println!("saw INVOKE {}", invoke.invoked_function_arn),
        NextEvent::Shutdown(shutdown) => {
            // What was recorded last is still on its way.
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            println!("saw SHUTDOWN {}", shutdown.shutdown_reason);
            std::process::exit(0);
        }
    }
    Ok(())
}

async fn take(records: Vec<LambdaTelemetry>) -> Result<(), Error> {
    for record in records {
        let text = match record.record {
            LambdaTelemetryRecord::Function(line) => format!("line {line}"),
            other => format!("{other:?}"),
        };
        println!("took {text}");
    }
    Ok(())
}
