// The name of a bag's folder: whose it is and of when, for people; its id makes it one of a kind.

export interface BagNameParts {
  /** Any characters. */
  readonly tenantName: string;
  readonly createdAt: Date;
  /** A UUID. */
  readonly exportId: string;
}

const mostOfName = 40;

/** `acme-corp-2026-11-24-` and the 32 hexadecimal digits of the export's id: safe as a name in any file system. */
export function bagName({ tenantName, createdAt, exportId }: BagNameParts): string {
  const date = createdAt.toISOString().slice(0, "2026-11-24".length);
  return `${slug(tenantName)}-${date}-${exportId.replaceAll("-", "")}`;
}

function slug(name: string): string {
  const plain = name
    // é is e and a mark, which is left out.
    .normalize("NFKD")
    .replace(/\p{Mark}+/gu, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-/, "")
    .slice(0, mostOfName)
    .replace(/-$/, "");
  return plain === "" ? "tenant" : plain;
}
