/** Invorto for JavaScript. */
export * from "./webhooks.js";
