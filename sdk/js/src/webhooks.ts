/**
 * Webhooks: is a request from Invorto, and what does it tell?
 *
 * Signatures are those of Standard Webhooks 1.0, over the raw bytes of the body. Runs wherever there is WebCrypto: Node,
 * Deno, Bun, workers.
 */

/** Why a request is not believed. */
export type Refusal =
  | "bad_secret"
  | "missing_header"
  | "bad_timestamp"
  | "too_old"
  | "too_new"
  | "bad_signature"
  | "not_an_event";

/** A request that is not believed: answer it with 400. */
export class WebhookError extends Error {
  override readonly name = "WebhookError";
  readonly code: Refusal;

  constructor(code: Refusal, message: string) {
    super(message);
    this.code = code;
  }
}

/** What a webhook tells. */
export interface WebhookEvent<Data = Record<string, unknown>> {
  /** The same on every attempt and replay: whoever has handled it once may ignore it. */
  readonly id: string;
  /** Such as `call.ended`. */
  readonly type: string;
  /** When it happened. */
  readonly timestamp: Date;
  readonly tenantId: string;
  /** The call that it is about, if it is about one. */
  readonly callId: string | null;
  /** Its number among the call's events, from 1. */
  readonly seq: number | null;
  readonly schemaVersion: number;
  /** All of it, as the schema of its type and version says. */
  readonly data: Data;
}

/** The raw body: what came over the wire, before anybody parsed it. */
export type Body = string | Uint8Array | ArrayBuffer;

/** A request's headers, as `fetch`, Node, Express and their like have them. */
export type HeadersLike = Headers | Readonly<Record<string, string | readonly string[] | undefined>>;

export interface VerifyOptions {
  /** Seconds that a request may be old, or from the future. */
  readonly tolerance?: number;
  /** The time, in milliseconds since 1970; for tests. */
  readonly now?: number;
}

const TOLERANCE = 300;
const utf8 = new TextEncoder();

/**
 * Verifies a request and gives what it tells; throws `WebhookError`.
 *
 * `secret` is the endpoint's, `whsec_…`; several where you are changing from one to another.
 */
export async function verify<Data = Record<string, unknown>>(
  body: Body,
  headers: HeadersLike,
  secret: string | readonly string[],
  options: VerifyOptions = {},
): Promise<WebhookEvent<Data>> {
  const id = await authenticate(body, headers, secret, options);
  return parse<Data>(bytes(body), id);
}

/** Verifies a request as `verify` does and gives its `webhook-id`, whatever the body holds. */
export async function authenticate(
  body: Body,
  headers: HeadersLike,
  secret: string | readonly string[],
  options: VerifyOptions = {},
): Promise<string> {
  const keys = (typeof secret === "string" ? [secret] : secret).flatMap(keysOf);
  if (keys.length === 0) {
    throw new WebhookError("bad_secret", "there is no secret to verify with");
  }
  const id = header(headers, "webhook-id");
  const timestamp = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature");
  checkAge(timestamp, options);
  const start = utf8.encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array([...start, ...bytes(body)]);
  for (const key of keys) {
    const known = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    for (const signature of signatures.split(" ")) {
      const given = signature.startsWith("v1,") ? base64(signature.slice(3)) : undefined;
      // WebCrypto compares in constant time.
      if (given !== undefined && (await crypto.subtle.verify("HMAC", known, given, signed))) {
        return id;
      }
    }
  }
  throw new WebhookError("bad_signature", "no signature fits the body: is it raw, and the secret this endpoint's?");
}

function parse<Data>(body: Uint8Array, id: string): WebhookEvent<Data> {
  let whole: unknown;
  try {
    whole = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw new WebhookError("not_an_event", "the body is not JSON");
  }
  if (!isObject(whole) || typeof whole["type"] !== "string" || !isObject(whole["data"])) {
    throw new WebhookError("not_an_event", "the body is no event of Invorto");
  }
  const data = whole["data"];
  const timestamp = new Date(String(whole["timestamp"]));
  if (typeof data["tenantId"] !== "string" || data["eventId"] !== id || Number.isNaN(timestamp.getTime())) {
    throw new WebhookError("not_an_event", "the body is no event of Invorto");
  }
  return {
    id,
    type: whole["type"],
    timestamp,
    tenantId: data["tenantId"],
    callId: typeof data["callId"] === "string" ? data["callId"] : null,
    seq: typeof data["seq"] === "number" ? data["seq"] : null,
    schemaVersion: typeof data["schemaVersion"] === "number" ? data["schemaVersion"] : 1,
    data: data as Data,
  };
}

function checkAge(timestamp: string, { tolerance = TOLERANCE, now = Date.now() }: VerifyOptions): void {
  if (!/^\d{1,12}$/.test(timestamp)) {
    throw new WebhookError("bad_timestamp", "webhook-timestamp is not in seconds since 1970");
  }
  const age = Math.floor(now / 1000) - Number(timestamp);
  if (age > tolerance) {
    throw new WebhookError("too_old", `the request is ${age} s old`);
  }
  if (age < -tolerance) {
    throw new WebhookError("too_new", `the request is from ${-age} s in the future: are the clocks right?`);
  }
}

function header(headers: HeadersLike, name: string): string {
  const found: string[] = [];
  if (headers instanceof Headers) {
    found.push(headers.get(name) ?? "");
  } else {
    for (const [key, value] of Object.entries(headers)) {
      if (key.toLowerCase() === name && value !== undefined) {
        found.push(...(typeof value === "string" ? [value] : value));
      }
    }
  }
  const [value] = found;
  if (value === undefined || value === "" || found.length > 1) {
    throw new WebhookError("missing_header", `expected the header ${name}, once`);
  }
  return value;
}

/** What a secret stands for: `whsec_` and base64; other texts are their own bytes, or base64 too. */
function keysOf(secret: string): Uint8Array<ArrayBuffer>[] {
  const marked = secret.startsWith("whsec_");
  const decoded = base64(marked ? secret.slice("whsec_".length) : secret);
  const keys = [marked ? undefined : utf8.encode(secret), decoded].filter((key) => key !== undefined && key.length > 0);
  if (keys.length === 0) {
    throw new WebhookError("bad_secret", "the secret is not whsec_ and base64");
  }
  return keys as Uint8Array<ArrayBuffer>[];
}

function base64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    return undefined;
  }
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function bytes(body: Body): Uint8Array {
  if (typeof body === "string") {
    return utf8.encode(body);
  }
  if (body instanceof Uint8Array) {
    return body;
  }
  if (body instanceof ArrayBuffer) {
    return new Uint8Array(body);
  }
  throw new TypeError("the body must be raw: text or bytes as they came, not parsed");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
