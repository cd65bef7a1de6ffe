// The JSON of the gateway and of the demo's control API; for the type checker only.

export interface Config {
  version: string;
  control: { url: string; token: string } | null;
  natsCommand: string | null;
  operations: boolean;
}

export interface Projection {
  service: string;
  name: string;
  version: number;
  state: "catching-up" | "live" | "paused" | "failed" | "dropped";
  isActive: boolean;
  lagMessages: number;
  asOf: string | null;
  historyTotal: number;
  historyRead: number;
  detail: string | null;
}

export interface OverviewService {
  name: string;
  state: string;
  instances: number;
  backlog: number;
  unacknowledged: number;
  redelivered: number;
}

export interface OverviewStream {
  name: string;
  messages: number;
  bytes: number;
  firstSequence: number;
  lastSequence: number;
}

export interface OverviewEdge {
  from: string;
  to: string;
  type: string;
  kind: string;
  perSecond: number;
}

export interface OverviewState {
  at: string;
  broker: string;
  services: OverviewService[];
  streams: OverviewStream[];
  edges: OverviewEdge[];
  orders: {
    placedPerSecond: number;
    finalPerSecond: number;
    latencyMilliseconds: { p50: number | null; p99: number | null };
    finals: number;
  };
}

export interface OverviewMessage {
  sequence: number;
  stream: string;
  id: string;
  type: string;
  kind: string;
  source: string;
  to: string[];
  key: string;
  subject: string;
  time: string;
  correlationId: string | null;
  causationId: string | null;
}

export interface OverviewSample {
  messages: OverviewMessage[];
  seen: number;
  shown: number;
}

export interface OrderItem {
  productId: string;
  quantity: number;
  unitPrice: number;
}

export interface NewOrder {
  orderId: string;
  customerId: string;
  currency: string;
  items: OrderItem[];
}

export interface Order extends NewOrder {
  status: string;
  totalPrice: number;
  reason: { code: string; text?: string; productIds?: string[] } | null;
  version: number;
  placedAt: string;
  updatedAt: string;
}

export interface Consumer {
  service: string;
  status: string;
  at: string | null;
  failures: number;
  failure: string | null;
  duplicates: number;
}

export interface Step {
  time: string;
  stream: string;
  sequence: number;
  subject: string;
  source: string | null;
  messageId: string | null;
  causationId: string | null;
  depth: number;
  outboxDelayMs: number | null;
  note: string | null;
  consumers: Consumer[];
}

export interface Timeline {
  key: string;
  askedAt: string;
  steps: Step[];
  services: { service: string; state: string; since: string | null }[];
  blockedOn: { service: string; what: string; since: string | null }[];
  sources: { name: string; available: boolean; detail: string | null }[];
}

export interface StoredMessage {
  stream: string;
  sequence: number;
  subject: string;
  time: string;
  headers: Record<string, string>;
  body: unknown;
}

export interface Check {
  name: string;
  title: string;
  status: "pass" | "fail" | "unknown";
  examined: number;
  detail: string;
  /** The number of violations; `violations` has the first ones. */
  total: number;
  violations: { id: string; key: string; explanation: string }[];
  /** The number of unfinished orders; `waiting` has the first ones. */
  waitingTotal: number;
  waiting: { key: string; service: string; what: string; since: string }[];
}

export interface Invariants {
  checkedAt: string;
  checks: Check[];
}

export interface Component {
  component: string;
  state: string;
  ready: boolean;
  detail: string;
  process: number | null;
  actions: string[];
  faults: string[];
}

export interface Product {
  productId: string;
  available: number;
  reserved: number;
  backordered: number;
}

export interface Account {
  customerId: string;
  version: number;
  name: string;
  addresses: unknown[];
  contact: unknown;
  card?: { brand: string; lastFour: string };
  creditLimit: { amount: number; currency: string };
}

export interface Payment {
  orderId: string;
  customerId: string;
  status: string;
  amount: number;
  currency: string;
  reason: string | null;
  updatedAt: string;
}

export interface Notification {
  sequence: number;
  customerId: string;
  orderId: string;
  type: string;
  subject: string;
  text: string;
  createdAt: string;
  deliveredAt: string | null;
}

export interface Page<T> {
  items: T[];
  next: string | null;
}

export interface Problem {
  code: string;
  title: string;
  detail: string;
  status: number;
}
