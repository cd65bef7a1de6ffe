// The processes of the shop, with short names and roles.

/** The consuming services, in drawing order. */
export const SERVICES = [
  "order-service",
  "inventory-service",
  "account-service",
  "payment-service",
  "notification-service",
  "projection-service",
];

/** @type {Record<string, {short: string, does: string}>} */
const KNOWN = {
  "api-gateway": { short: "gateway", does: "REST in, commands out" },
  "order-service": { short: "orders", does: "decides orders" },
  "inventory-service": { short: "inventory", does: "reserves stock" },
  "account-service": { short: "accounts", does: "keeps limits" },
  "payment-service": { short: "payments", does: "takes money, once" },
  "notification-service": { short: "notifications", does: "notifies customers" },
  "projection-service": { short: "projections", does: "keeps read models" },
  "payment-provider": { short: "provider", does: "simulates a bank" },
  "nats-server": { short: "nats", does: "keeps the streams" },
};

/** @param {string} name */
export function shortName(name) {
  return KNOWN[name]?.short ?? name.replace(/-service$/, "");
}

/** @param {string} name */
export function role(name) {
  return KNOWN[name]?.does ?? "";
}

/**
 * The kind of a message: a command, an event, or, among the events, a refusal.
 *
 * @param {string} name a subject or a type
 */
export function tone(name) {
  if (/\.(declined|refused|cancelled|backordered|awaiting-stock|released|refunded)(\.|$)/.test(name))
    return "refusal";
  return name.includes(".command.") ? "command" : "event";
}
