/** The SDK's side of webhooks, held to the shared vectors and to two other implementations of the standard. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";
import { authenticate, verify, WebhookError } from "@invorto/sdk/webhooks";

interface Vector {
  name: string;
  secret: string | string[];
  headers: Record<string, string>;
  body: string;
  now: number;
  refusal: string | null;
  isEvent: boolean;
}

const shared = new URL("../../../tests/data/webhooks/vectors.json", import.meta.url);
const vectors = JSON.parse(readFileSync(shared, "utf8")) as Vector[];
const secret = `whsec_${Buffer.alloc(32, "s").toString("base64")}`;
const others = { standardwebhooks: StandardWebhook, svix: SvixWebhook };

for (const vector of vectors) {
  test(`vector: ${vector.name}`, async () => {
    const body = Buffer.from(vector.body, "base64");
    const options = { now: vector.now * 1000 };
    const ask = () => authenticate(body, vector.headers, vector.secret, options);
    if (vector.refusal !== null) {
      await assert.rejects(ask, (error) => error instanceof WebhookError && error.code === vector.refusal);
      return;
    }
    const { "webhook-id": id, "Webhook-Id": Id } = vector.headers;
    assert.equal(await ask(), id ?? Id);
    if (!vector.isEvent) {
      await assert.rejects(verify(body, vector.headers, vector.secret, options), { code: "not_an_event" });
      return;
    }
    const event = await verify<{ message: string }>(body, vector.headers, vector.secret, options);
    assert.deepEqual([event.type, event.tenantId, event.callId, event.seq], ["webhook.test", "t_default", null, null]);
    assert.equal(event.timestamp.toISOString(), "2026-03-04T09:30:12.345Z");
    assert.equal(event.data.message, "नमस्ते – ₹");
  });
}

for (const [name, Theirs] of Object.entries(others)) {
  test(`${name}: what it signs is believed`, async () => {
    for (const body of ["", "{}", "नमस्ते 🙂", "x".repeat(10_000)]) {
      const at = new Date();
      const headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
        "webhook-signature": new Theirs(secret).sign("msg_1", at, body),
      };
      assert.equal(await authenticate(body, headers, secret), "msg_1");
      assert.equal(await authenticate(Buffer.from(body), new Headers(headers), secret), "msg_1");
      assert.equal(await authenticate(new TextEncoder().encode(body).buffer as ArrayBuffer, headers, secret), "msg_1");
      await assert.rejects(authenticate(`${body} `, headers, secret), { code: "bad_signature" });
    }
  });

  test(`${name}: agrees with the vectors`, () => {
    let compared = 0;
    for (const vector of vectors) {
      const body = Buffer.from(vector.body, "base64");
      const id = vector.headers["webhook-id"];
      if (vector.refusal !== null || typeof vector.secret !== "string" || id === undefined) continue;
      if (vector.secret.includes(" ")) continue; // plain text is ours alone
      if (!Buffer.from(body.toString("utf8")).equals(body)) continue;
      const at = new Date(Number(vector.headers["webhook-timestamp"]) * 1000);
      const signature = new Theirs(vector.secret).sign(id, at, body.toString("utf8"));
      assert.ok(vector.headers["webhook-signature"]?.split(" ").includes(signature), vector.name);
      compared += 1;
    }
    assert.ok(compared >= 10);
  });
}

test("a body that was parsed is refused as such", async () => {
  const parsed = { type: "call.ended" } as unknown as string;
  const headers = { ...vectors[0]?.headers };
  const now = (vectors[0]?.now ?? 0) * 1000;
  await assert.rejects(verify(parsed, headers, secret, { now }), { name: "TypeError", message: /raw/ });
});

test("headers as Node lists them, and twice", async () => {
  const vector = vectors[0];
  assert.ok(vector);
  const body = Buffer.from(vector.body, "base64");
  const options = { now: vector.now * 1000 };
  const id = vector.headers["webhook-id"] ?? "";
  const once = { ...vector.headers, "webhook-id": [id], other: undefined };
  assert.equal((await verify(body, once, vector.secret, options)).id, id);
  const twice = { ...vector.headers, "webhook-id": [id, id] };
  await assert.rejects(verify(body, twice, vector.secret, options), { code: "missing_header" });
});
