// Exit codes of the command, the same for every subcommand.

export const exitCodes = { done: 0, failed: 1, usedWrongly: 2 } as const;

/** Ends a command that has printed all there is to say; 1 by default. */
export class CommandEnded extends Error {
  readonly exitCode: number;

  constructor(exitCode: number = exitCodes.failed) {
    super(`ended with exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}
