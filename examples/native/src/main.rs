//! Says hello: over the function's URL, and to any other event. Counts, a line at a time, where
//! the event asks for it.

use lambda_runtime::streaming::{Body, Response, channel};
use lambda_runtime::{Error, FunctionResponse, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(answer)).await
}

async fn answer(event: LambdaEvent<Value>) -> Result<FunctionResponse<Value, Body>, Error> {
    let event = event.payload;
    Ok(match event["count"].as_u64() {
        Some(lines) => FunctionResponse::StreamingResponse(count(lines)),
        None => FunctionResponse::BufferedResponse(hello(&event)),
    })
}

fn count(lines: u64) -> Response<Body> {
    let (mut sender, body) = channel();
    tokio::spawn(async move {
        for line in 1..=lines {
            // An error means that nobody takes the answer any more.
            if sender.send_data(format!("{line}\n").into()).await.is_err() {
                return;
            }
        }
    });
    body.into()
}

fn hello(event: &Value) -> Value {
    let over_http = event.get("requestContext").is_some();
    let named = if over_http { &event["queryStringParameters"]["name"] } else { &event["name"] };
    let message = json!({ "message": format!("Hello, {}!", named.as_str().unwrap_or("world")) });
    if !over_http {
        return message;
    }
    json!({
        "statusCode": 200,
        "headers": { "content-type": "application/json" },
        "body": message.to_string(),
    })
}
