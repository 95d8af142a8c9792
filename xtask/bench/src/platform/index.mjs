// The Node function of the benchmark.
const ANSWER = "hello";

export const handler = async (event) => {
  const hold = event.queryStringParameters?.hold;
  if (hold) await new Promise((done) => setTimeout(done, Number(hold)));
  return { statusCode: 200, body: ANSWER };
};
