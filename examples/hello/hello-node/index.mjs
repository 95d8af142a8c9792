// Says hello: over the function's URL, and to any other event.
export const handler = async (event, context) => {
  if (event.requestContext) {
    const name = event.queryStringParameters?.name ?? "world";
    return {
      statusCode: 200,
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ message: `Hello, ${name}!` }),
    };
  }
  return { message: `Hello, ${event.name ?? "world"}!` };
};
