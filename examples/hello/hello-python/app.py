"""Says hello: over the function's URL, and to any other event."""

import json


def lambda_handler(event, context):
    if "requestContext" in event:
        name = (event.get("queryStringParameters") or {}).get("name", "world")
        return {
            "statusCode": 200,
            "headers": {"content-type": "application/json"},
            "body": json.dumps({"message": f"Hello, {name}!"}),
        }
    return {"message": f"Hello, {event.get('name', 'world')}!"}
