// Who there is, and what each of them does, in a few words.

/** The services that listen, in the order in which they are drawn. */
export const SERVICES = [
  "order-service",
  "inventory-service",
  "account-service",
  "payment-service",
  "notification-service",
];

/** @type {Record<string, {short: string, does: string}>} */
const KNOWN = {
  "api-gateway": { short: "gateway", does: "REST in, commands out" },
  "order-service": { short: "orders", does: "decides orders" },
  "inventory-service": { short: "inventory", does: "reserves stock" },
  "account-service": { short: "accounts", does: "keeps limits" },
  "payment-service": { short: "payments", does: "takes money, once" },
  "notification-service": { short: "notifications", does: "tells customers" },
  "payment-provider": { short: "provider", does: "stands in for a bank" },
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
 * Commands, events, and among these those that say no.
 *
 * @param {string} name a subject or a type
 */
export function tone(name) {
  if (/\.(declined|refused|cancelled|backordered|awaiting-stock|released|refunded)(\.|$)/.test(name))
    return "refusal";
  return name.includes(".command.") ? "command" : "event";
}
