//! Says hello: over the function's URL, and to any other event.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(hello)).await
}

async fn hello(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let event = event.payload;
    let over_http = event.get("requestContext").is_some();
    let named = if over_http { &event["queryStringParameters"]["name"] } else { &event["name"] };
    let message = json!({ "message": format!("Hello, {}!", named.as_str().unwrap_or("world")) });
    if !over_http {
        return Ok(message);
    }
    Ok(json!({
        "statusCode": 200,
        "headers": { "content-type": "application/json" },
        "body": message.to_string(),
    }))
}
