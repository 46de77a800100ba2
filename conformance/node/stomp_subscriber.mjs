// Follows a channel by `@stomp/stompjs` over WebSocket: `node stomp_subscriber.mjs URL CHANNEL CURSOR COUNT` prints position and body
// of so many messages, a JSON array a line. For suites in other languages.

import { Client } from "@stomp/stompjs";
import WebSocket from "ws";

const [url, channel, after, count] = process.argv.slice(2);
const lines = [];
const fail = (why) => (console.error(why), process.exit(1));

const client = new Client({
  webSocketFactory: () => new WebSocket(url, ["v12.stomp"]),
  reconnectDelay: 0,
  heartbeatIncoming: 0,
  heartbeatOutgoing: 0,
  onStompError: (frame) => fail(`${frame.headers.message}\n${frame.body}`),
  onWebSocketClose: (event) => lines.length < count && fail(`closed: ${event.code} ${event.reason}`),
  onConnect: () =>
    client.subscribe(
      `/topic/${channel}`,
      (message) => {
        lines.push(JSON.stringify([message.headers.position, message.body]));
        if (lines.length === Number(count)) process.stdout.write(lines.join("\n") + "\n", () => client.deactivate());
      },
      { after },
    ),
});
client.activate();
