import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, cp, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { createLogging } from "@ectus/core";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { findEmbeddedBinaries } from "./embedded-binaries.ts";
import { asUser, type Command, chooseUser } from "./embedded-user.ts";

const run = promisify(execFile);
const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("database");
const isRoot = process.getuid?.() === 0;

let base: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "ectus-user-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(base, { recursive: true, force: true });
});

/** Makes commands that are found before the system's. */
async function commands(scripts: Record<string, string>): Promise<void> {
  const folder = join(base, "bin");
  await mkdir(folder);
  for (const [name, script] of Object.entries(scripts)) {
    await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  vi.stubEnv("PATH", `${folder}${delimiter}${process.env.PATH}`);
}

const missing = "exit 1";
const knowsOnly = (name: string, uid: number) => `[ "$2" = ${name} ] && echo ${uid} || exit 1`;

describe("the user that PostgreSQL runs as", () => {
  test("is the existing postgres", async () => {
    await commands({ id: knowsOnly("postgres", 70) });
    expect(await chooseUser(join(base, "none"), log)).toEqual({ uid: 70, gid: 70 });
  });

  test.each(["useradd", "adduser"])("is a postgres made with %s if there is none", async (tool) => {
    const made = join(base, "made");
    await commands({
      id: `[ "$2" = postgres ] && [ -e ${made} ] && echo 71 || exit 1`,
      useradd: missing,
      adduser: missing,
    });
    await writeFile(
      join(base, "bin", tool),
      `#!/bin/sh\nfor name; do :; done; [ "$name" = postgres ] && touch ${made}\n`,
    );
    expect(await chooseUser(join(base, "none"), log)).toEqual({ uid: 71, gid: 71 });
  });

  test("is nobody where no user can be made", async () => {
    await commands({ id: knowsOnly("nobody", 65_534), useradd: missing, adduser: missing });
    expect(await chooseUser(join(base, "none"), log)).toEqual({ uid: 65_534, gid: 65_534 });
  });

  test("is never root, and a system without another user is told so", async () => {
    await commands({ id: "echo 0", useradd: missing, adduser: missing });
    await expect(chooseUser(join(base, "none"), log)).rejects.toMatchObject({
      code: "embedded_postgres_failed",
    });
  });

  test("is the owner of a cluster that is there", async (context) => {
    if (!isRoot) context.skip("NOT TESTED: it takes root to give a folder to another user.");
    await chown(base, 1234, 4321);
    expect(await chooseUser(base, log)).toEqual({ uid: 1234, gid: 4321 });
  });
});

describe("as root, a program runs as another user", () => {
  beforeEach((context) => {
    if (isRoot) return;
    if (process.env.CI === "true") throw new Error("CI must run these tests as root");
    context.skip("NOT TESTED: starting PostgreSQL as root. Run as root.");
  });
  const user = { uid: 65_534, gid: 65_534 };

  /** A program that prints its user and the capabilities that it has, in a folder of its own. */
  async function makeProgram(mode: number): Promise<string> {
    await mkdir(join(base, "programs"));
    const program = join(base, "programs", "show");
    await writeFile(
      program,
      '#!/bin/sh\n[ "$1" = --version ] && exit 0\nid -u; id -G; grep CapEff /proc/self/status | cut -f2; cat "$1"\n',
    );
    await chmod(program, mode);
    await writeFile(join(base, "programs", "data"), "read");
    return program;
  }

  async function show({ file, args, ...ids }: Command): Promise<string[]> {
    const { stdout } = await run(file, [...args], { ...ids, cwd: "/" });
    return stdout.trim().split("\n");
  }

  test("without any capability where it can reach everything", async () => {
    const program = await makeProgram(0o755);
    await chmod(base, 0o711);
    const command = (await asUser(user, [program], [base]))(program, [join(base, "programs", "data")]);
    expect(command).toMatchObject({ file: program, ...user });
    expect(await show(command)).toEqual(["65534", "65534", "0000000000000000", "read"]);
  });

  test("with the right to pass folders, and no other, below a folder that is closed", async () => {
    const program = await makeProgram(0o755);
    const command = (await asUser(user, [program], [base]))(program, [join(base, "programs", "data")]);
    expect(command.file).toBe("setpriv");
    const dacReadSearch = "0000000000000004";
    expect(await show(command)).toEqual(["65534", "65534", dacReadSearch, "read"]);
  });

  test("with the right to override modes, and no other, where the program itself is closed", async () => {
    const program = await makeProgram(0o700);
    await chmod(base, 0o711);
    const command = (await asUser(user, [program], [base]))(program, [join(base, "programs", "data")]);
    const dacOverride = "0000000000000002";
    expect(await show(command)).toEqual(["65534", "65534", dacOverride, "read"]);
  });

  test("by its own or its group's rights where it has them", async () => {
    const program = await makeProgram(0o750);
    await chown(program, 0, user.gid);
    await chmod(base, 0o710);
    await chown(base, 0, user.gid);
    expect((await asUser(user, [program], [base]))(program, []).file).toBe(program);
    await chown(base, user.uid, 0);
    await chmod(base, 0o700);
    expect((await asUser(user, [program], [base]))(program, []).file).toBe(program);
  });

  test("or the error names the folder that is closed and how to open it", async () => {
    const program = await makeProgram(0o755);
    await commands({ setpriv: "echo 'setpriv: not permitted here' >&2; exit 1" });
    const refused = asUser(user, [program], [base]);
    await expect(refused).rejects.toMatchObject({ code: "embedded_postgres_failed" });
    await expect(refused).rejects.toThrow(`chmod o+x '${base}'`);
    await expect(refused).rejects.toThrow("setpriv: not permitted here");
    await chmod(base, 0o755);
    await chmod(program, 0o700);
    await expect(asUser(user, [program], [base])).rejects.toThrow(`chmod -R o+rX '${program}'`);
  });

  test("or the error says that setpriv is missing", async () => {
    const program = await makeProgram(0o755);
    vi.stubEnv("PATH", join(base, "nothing"));
    await expect(asUser(user, [program], [base])).rejects.toThrow("setpriv ENOENT");
  });
});

describe("in a container as root, PostgreSQL starts", () => {
  beforeEach((context) => {
    if (!isRoot) context.skip("NOT TESTED: PostgreSQL in a container as root. Run as root.");
    try {
      execFileSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", base], { stdio: "ignore" });
    } catch (error) {
      if (process.env.CI === "true") throw new Error("CI must be able to mount", { cause: error });
      context.skip("NOT TESTED: PostgreSQL in a container as root. This container may not mount.");
    }
  });

  /** Starts PostgreSQL in another process, below `prefix`, prints who runs it, and stops it. */
  async function startBelow(prefix: string[]): Promise<string> {
    const program = `
      import { execFileSync } from "node:child_process";
      import { readFileSync } from "node:fs";
      import { createLogging } from "@ectus/core";
      import { startEmbeddedPostgres } from ${JSON.stringify(new URL("./embedded-postgres.ts", import.meta.url).href)};
      const dataDir = ${JSON.stringify(join(base, "postgres"))};
      const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("database");
      const postgres = await startEmbeddedPostgres({ dataDir, log });
      const pid = parseInt(readFileSync(dataDir + "/cluster/postmaster.pid", "utf8"));
      const status = readFileSync("/proc/" + pid + "/status", "utf8");
      const uid = /^Uid:\\t(\\d+)/m.exec(status)[1];
      console.log(execFileSync("id", ["-nu", uid], { encoding: "utf8" }).trim(), /^CapEff:\\t0*(.*)$/m.exec(status)[1]);
      await postgres.stop();`;
    const args = [...prefix, process.execPath, "--input-type=module", "-e", program];
    const child = spawn(String(args[0]), args.slice(1), {
      cwd: import.meta.dirname,
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    await once(child, "close");
    return output.trim();
  }

  // What `docker run` grants: no CAP_DAC_READ_SEARCH.
  const docker =
    "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,mknod";
  const dockerCapabilities = docker
    .split(",")
    .map((name) => `+${name}`)
    .join(",");

  test("with the capabilities that Docker grants, below a closed folder", async () => {
    expect(await startBelow(["setpriv", `--bounding-set=-all,${dockerCapabilities}`])).toBe("postgres 2");
  });

  test("where there is no user postgres, which is made", async () => {
    const etc = join(base, "etc");
    await cp("/etc", etc, { recursive: true, verbatimSymlinks: true });
    for (const file of ["passwd", "group", "shadow", "gshadow"]) {
      execFileSync("sed", ["-i", "/^postgres:/d", join(etc, file)]);
    }
    const inNewEtc = ["unshare", "--mount", "sh", "-c", `mount --bind ${etc} /etc && exec "$@"`, "sh"];
    const outside = await stat("/etc/passwd");
    expect(await startBelow(inNewEtc)).toBe("postgres 4");
    expect((await stat("/etc/passwd")).mtimeMs).toBe(outside.mtimeMs);
    expect(execFileSync("grep", ["^postgres:", join(etc, "passwd")], { encoding: "utf8" })).toContain(
      "/bin/false",
    );
  });

  test.each([
    { what: "in a folder that only root can pass", args: ["go-rwx"], expected: "postgres 4" },
    { what: "that only root can read", args: ["-R", "go-rwx"], expected: "postgres 2" },
  ])("from programs $what", async ({ args, expected }) => {
    const { postgres } = await findEmbeddedBinaries();
    const native = join(postgres, "..", "..");
    const closed = join(base, "native");
    execFileSync("cp", ["-a", native, closed]);
    execFileSync("chown", ["-R", "root:root", closed]);
    execFileSync("chmod", [...args, closed]);
    const bound = ["unshare", "--mount", "sh", "-c", `mount --bind ${closed} ${native} && exec "$@"`, "sh"];
    expect(await startBelow(bound)).toBe(expected);
  });
});
