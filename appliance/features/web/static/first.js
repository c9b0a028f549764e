// How the first reading comes, while there is none: what to type, as the hub takes it from where the page is read.

const NEAR = /^(localhost|127\.[\d.]+|\[::1\])$/; // the page of the hub itself
const LISTENER = /^(\w+):\/\/(.*?):(\d+)\/?$/;
const APPEAR = "Readings appear here as soon as a sensor publishes them";

// Gives pairs of a sentence and command lines; `place` is where the page was found, such as `location`.
export function firstReading(site, status, place) {
  const { accounts } = status;
  const near = NEAR.test(place.hostname);
  const host = place.hostname.replace(/^\[|\]$/g, "");
  const listeners = (status.listeners ?? []).map((url) => LISTENER.exec(url)).filter(Boolean).map(
    ([, scheme, address, port]) => ({ scheme, port, near: NEAR.test(address) }),
  );
  const found = (scheme) => listeners.find((one) => one.scheme === scheme && (near || !one.near));
  const inner = (near || !found("mqtts")) && status.mqtt ? { scheme: "mqtt", port: status.mqtt.split(":").pop() } : null;
  const way = (near && inner) || found("mqtts") || found("mqtt") || inner;
  if (!way) return [[`${APPEAR}.`, ""]]; // as where MQTT is at a socket file alone
  const flags = [];
  if (!near && way !== inner) flags.push(`-h ${host}`);
  if (way.port !== "1883" || way.scheme === "mqtts") flags.push(`-p ${way.port}`);
  if (way.scheme === "mqtts") flags.push("--cafile ca.pem");
  const named = accounts && !(near && accounts.anonymous);
  if (named) flags.push("-u NAME -P PASSWORD");
  const example = ["mosquitto_pub", ...flags, `-r -t ${site}/kitchen/temperature -m 21.4`].join(" ");
  if (!named) return [[`${APPEAR}, for example`, example]];
  const added = accounts.managed ? "appliance devices add" : "appliance passwd";
  const trust = way.scheme === "mqtts" ? ", and the hub's ca.pem" : "";
  const rest = [`Any other device or program needs an account too (${added})${trust}:`, example];
  const door = found("https");
  if (!accounts.managed || !door || !found("mqtts")) return [[`${APPEAR}. Each has an account.`, ""], rest];
  const port = door.port === "8443" ? "" : `:${door.port}`;
  const hub = near ? "" : ` ${place.hostname}${port}`;
  const pair = `appliance pair\nsensors pair${hub}`;
  return [[`${APPEAR}. A sensor agent gets an account by a code: the first command on the hub, the second on the agent.`, pair], rest];
}
