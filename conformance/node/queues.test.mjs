// Queues as the npm client `@stomp/stompjs` sees them: a consumer process is killed, and another gets what it had in hand.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import { Client } from "@stomp/stompjs";
import WebSocket from "ws";

import { Inbox, numbers, PATIENCE_MS, startServer, within } from "./harness.mjs";

const bounded = { timeout: 3 * PATIENCE_MS };
let server;

before(async () => (server = await startServer({ queues: { tries_max: 2 } }, "--workers", "2")));
after(() => server?.stop());

/** A consumer that tells the ids of what it has in hand, and answers for nothing. */
const HOLDER = `
import { Client } from "@stomp/stompjs";
import WebSocket from "ws";
const [address, queue, window] = process.argv.slice(1);
const client = new Client({ webSocketFactory: () => new WebSocket("ws://" + address + "/stomp", ["v12.stomp"]), reconnectDelay: 0 });
client.onConnect = () => client.subscribe(queue, (message) => console.log(message.headers["message-id"]),
  { ack: "client-individual", "prefetch-count": window });
client.activate();
setTimeout(() => process.exit(1), ${2 * PATIENCE_MS});
`;

async function connect() {
  const client = new Client({ webSocketFactory: () => new WebSocket(`ws://${server.address}/stomp`, ["v12.stomp"]), reconnectDelay: 0 });
  const connected = new Promise((resolve) => (client.onConnect = resolve));
  client.activate();
  await within(connected, "CONNECTED");
  return client;
}

function consume(client, destination, headers = {}) {
  const inbox = new Inbox();
  client.subscribe(destination, (message) => inbox.put(message), { ack: "client-individual", ...headers });
  return inbox;
}

/** Publishes, and returns when the queue has all of it. */
async function send(client, destination, bodies) {
  for (const body of bodies.slice(0, -1)) client.publish({ destination, body });
  const taken = new Promise((resolve) => client.watchForReceipt(`last of ${destination}`, resolve));
  client.publish({ destination, body: bodies.at(-1), headers: { receipt: `last of ${destination}` } });
  await within(taken, "the RECEIPT");
}

test("stompjs: fifty messages of a killed consumer go to another, in order, marked redelivered", bounded, async () => {
  const [client, queue] = [await connect(), "/queue/stompjs/killed"];
  await send(client, queue, numbers(0, 50));
  const holder = spawn(process.execPath, ["--input-type=module", "-e", HOLDER, server.address, queue, "50"], {
    cwd: import.meta.dirname,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const held = [];
  for await (const id of createInterface(holder.stdout)) if (held.push(id) === 50) break;
  const inbox = consume(client, queue);
  const gone = once(holder, "exit");
  holder.kill("SIGKILL");
  await within(gone, "it is gone");
  const messages = await inbox.takeAll(50);
  assert.deepEqual(messages.map(({ headers }) => headers["message-id"]), held);
  assert.deepEqual(messages.map(({ body }) => body), numbers(0, 50));
  assert.ok(messages.every(({ headers }) => headers.redelivered === "true" && headers["delivery-count"] === "2"));
  messages.forEach((message) => message.ack());
  await send(client, queue, ["after"]);
  const [last] = await inbox.takeAll(1);
  assert.deepEqual([last.body, last.headers.redelivered], ["after", undefined]);
  await client.deactivate();
});

test("stompjs: what is refused twice is a dead letter, and a transaction moves a message from queue to queue", bounded, async () => {
  const client = await connect();
  await send(client, "/queue/stompjs/in", ["bad", "good"]);
  const inbox = consume(client, "/queue/stompjs/in", { "prefetch-count": "1" });
  for (const count of ["1", "2"]) {
    const message = await inbox.take();
    assert.deepEqual([message.body, message.headers["delivery-count"]], ["bad", count]);
    message.nack();
  }
  const good = await inbox.take();
  const transaction = client.begin();
  client.publish({ destination: "/queue/stompjs/out", body: good.body.toUpperCase(), headers: { transaction: transaction.id } });
  good.ack({ transaction: transaction.id });
  transaction.commit();
  assert.equal((await consume(client, "/queue/stompjs/out").take()).body, "GOOD");
  const dead = await consume(client, "/queue/$dead/stompjs/in").take();
  assert.deepEqual([dead.body, dead.headers["dead-reason"], dead.headers["dead-from"]], ["bad", "tries", "/queue/stompjs/in"]);
  await client.deactivate();
});
