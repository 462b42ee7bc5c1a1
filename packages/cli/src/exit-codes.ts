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

/** A fault that is none of this platform's coded errors: of a file of the user's, or told by a server. */
export class CommandFault extends Error {
  readonly code: string;
  /** Whether something on the command line is at fault. */
  readonly usedWrongly: boolean;

  constructor(message: string, code: string, usedWrongly = false, options?: ErrorOptions) {
    super(message, options);
    this.name = "CommandFault";
    this.code = code;
    this.usedWrongly = usedWrongly;
  }
}
