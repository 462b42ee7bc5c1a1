// Text of composite values in arrays, as PostgreSQL reads it (manual, 8.15.2 and 8.16.6). Reading an array of composites
// costs the server half of what the same in JSON does.

export type CompositeField = string | number | boolean | null;

const needsQuotes = /["\\(),{}\s]|^$/;

/** A composite value as an element of an array literal: `"(a,1,)"` with its own quotes, ready to be put between commas. */
export function arrayElement(fields: readonly CompositeField[]): string {
  let text = "";
  for (let index = 0; index < fields.length; index++) {
    if (index > 0) text += ",";
    const field = fields[index];
    // Nothing at all is null.
    if (field === null || field === undefined) continue;
    if (typeof field !== "string") text += field;
    else text += needsQuotes.test(field) ? quote(field) : field;
  }
  return `"(${text})"`;
}

// Quoted once for the composite, in which a quote and a backslash are doubled, and once more for the array, in which
// both take a backslash.
function quote(text: string): string {
  const inComposite = text.replace(/["\\]/g, "$&$&");
  return `\\"${inComposite.replace(/["\\]/g, "\\$&")}\\"`;
}
