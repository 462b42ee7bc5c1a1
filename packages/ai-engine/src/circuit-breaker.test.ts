import { beforeEach, expect, test } from "vitest";
import { type CallOutcome, createCircuitBreaker } from "./circuit-breaker.ts";

const options = {
  consecutiveFailures: 3,
  failureRatio: 0.5,
  minimumCalls: 10,
  windowMs: 10_000,
  coolDownMs: 5000,
};
let clock = 1_000_000;
const now = (): number => clock;

beforeEach(() => {
  clock = 1_000_000;
});

function breaker() {
  const changes: string[] = [];
  const circuit = createCircuitBreaker(options, now, (state) => changes.push(state));
  const call = (...outcomes: CallOutcome[]): boolean => {
    const permit = circuit.begin();
    if (permit === undefined) return false;
    for (const outcome of outcomes) circuit.record(permit, outcome);
    return true;
  };
  const open = (): void => {
    for (let failure = 0; failure < options.consecutiveFailures; failure += 1) call("failure");
  };
  return { circuit, call, open, changes };
}

test("failures in a row open the circuit, which lets no call pass", () => {
  const { circuit, call } = breaker();
  call("failure");
  call("failure");
  expect(circuit.state).toBe("closed");
  call("failure");
  expect(circuit.state).toBe("open");
  expect(circuit.allows).toBe(false);
  expect(call("success")).toBe(false);
});

test("a success between failures starts the row again", () => {
  const { circuit, call } = breaker();
  for (const outcome of ["failure", "failure", "success", "failure", "failure"] as const) call(outcome);
  expect(circuit.state).toBe("closed");
});

test("a share of failures opens it, once there are enough calls", () => {
  const { circuit, call } = breaker();
  for (let pair = 0; pair < 4; pair += 1) {
    call("success");
    call("failure");
  }
  expect(circuit.state).toBe("closed");
  call("success");
  call("failure");
  expect(circuit.state).toBe("open");
});

test("failures that are older than the window do not count", () => {
  const { circuit, call } = breaker();
  for (let pair = 0; pair < 4; pair += 1) {
    call("failure");
    call("success");
  }
  clock += options.windowMs + 1000;
  for (let success = 0; success < 9; success += 1) call("success");
  call("failure");
  expect(circuit.state).toBe("closed");
});

test("the window slides: what happened half a window ago still counts", () => {
  const { circuit, call } = breaker();
  for (let pair = 0; pair < 4; pair += 1) {
    call("failure");
    call("success");
  }
  clock += options.windowMs / 2;
  call("success");
  call("failure");
  expect(circuit.state).toBe("open");
});

test("refusals and clients that went away do not count", () => {
  const { circuit, call } = breaker();
  for (let round = 0; round < 20; round += 1) {
    call("neutral");
    call("rejected");
  }
  call("failure");
  call("neutral");
  call("rejected");
  call("failure");
  expect(circuit.state).toBe("closed");
  call("failure");
  expect(circuit.state).toBe("open");
});

test("after the cool-down one trial passes, and its success closes the circuit", () => {
  const { circuit, open, changes } = breaker();
  open();
  expect(circuit.waitMs).toBe(5000);
  clock += 4999;
  expect(circuit.begin()).toBeUndefined();
  clock += 1;
  expect([circuit.state, circuit.allows, circuit.waitMs]).toEqual(["half-open", true, 0]);
  const trial = circuit.begin();
  expect(circuit.allows).toBe(false);
  expect(circuit.begin()).toBeUndefined();
  circuit.record(trial ?? -1, "success");
  expect(circuit.state).toBe("closed");
  expect(changes).toEqual(["open", "half-open", "closed"]);
});

test("a trial that fails opens it for another cool-down", () => {
  const { circuit, call, open } = breaker();
  open();
  clock += 5000;
  call("failure");
  expect([circuit.state, circuit.waitMs]).toEqual(["open", 5000]);
});

test("a trial that decides nothing makes room for another one", () => {
  const { circuit, call, open } = breaker();
  open();
  clock += 5000;
  call("neutral");
  expect([circuit.state, circuit.allows]).toEqual(["half-open", true]);
});

test("a refusal of the trial closes it: the provider answers again", () => {
  const { circuit, call, open } = breaker();
  open();
  clock += 5000;
  call("rejected");
  expect(circuit.state).toBe("closed");
});

test("a stream that begins as the trial closes it, and opens it again if it breaks", () => {
  const { circuit, open } = breaker();
  open();
  clock += 5000;
  const trial = circuit.begin() ?? -1;
  circuit.record(trial, "started");
  expect([circuit.state, circuit.allows]).toEqual(["closed", true]);
  circuit.record(trial, "failure");
  expect(circuit.state).toBe("open");
});

test("a stream that began as the trial and ends well gives full credit back", () => {
  const { circuit, call, open } = breaker();
  open();
  clock += 5000;
  call("started", "success");
  call("failure");
  call("failure");
  expect(circuit.state).toBe("closed");
});

test("calls that began before the circuit opened do not decide about it", () => {
  const { circuit, open } = breaker();
  const old = circuit.begin() ?? -1;
  open();
  clock += 5000;
  expect(circuit.state).toBe("half-open");
  circuit.record(old, "success");
  expect(circuit.state).toBe("half-open");
  circuit.record(old, "failure");
  expect(circuit.state).toBe("half-open");
});
