// Buys two of a product with the client that was made from the document, and prints the payment's id.
// node buy.js GATEWAY PRODUCT USER

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Payment = components["schemas"]["Payment"];

declare const process: { argv: string[] };
const [gateway, product, user] = process.argv.slice(2);
if (!gateway || !product || !user) throw new Error("usage: buy.js GATEWAY PRODUCT USER");

const shop = createClient<paths>({ baseUrl: gateway });

function must<T>(answer: { data?: T; error?: unknown; response: Response }): NonNullable<T> {
  if (answer.data == null) throw new Error(`${answer.response.url}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

const nothing = await shop.GET("/api/products/{id}", { params: { path: { id: 999_999_999 } } });
const code: string | undefined = nothing.error?.code;
if (code !== "product_not_found") throw new Error(`a product that is not there: ${code}`);

const id = Number(product);
const wanted = must(await shop.GET("/api/products/{id}", { params: { path: { id } } }));
const basket = must(
  await shop.POST("/api/baskets/{user_id}/items", {
    params: { path: { user_id: user } },
    body: { product_id: wanted.id, quantity: 2 },
  }),
);
if (basket.items[0]?.product_id !== id) throw new Error(`the basket holds ${JSON.stringify(basket.items)}`);

const pending: Payment = must(
  await shop.POST("/api/payments", {
    params: { header: { "Idempotency-Key": `${user}-checkout` } },
    body: { user_id: user, method: "credit_card" },
  }),
);
const paid = must(
  await shop.POST("/api/payments/{id}/process", { params: { path: { id: pending.id } }, body: {} }),
);
if (paid.status !== "completed") throw new Error(`the payment is ${paid.status}`);
console.log(paid.id);
