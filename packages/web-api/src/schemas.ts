// Schemas that several routes share.
import Type from "typebox";

/** A value or null, which clients send for what they leave out. */
export const Nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

/** OpenAI's shape of an error. */
const ErrorAnswer = Type.Object({
  error: Type.Object({
    message: Type.String(),
    type: Type.String(),
    param: Type.Union([Type.String(), Type.Null()]),
    code: Type.String(),
  }),
});

/** Documents the errors of a route. */
export const errorAnswers = { "4xx": ErrorAnswer, "5xx": ErrorAnswer };

/** Documents a list that is read page by page. */
export const Page = <T extends Type.TSchema>(item: T) =>
  Type.Object({
    object: Type.Literal("list"),
    data: Type.Array(item),
    first_id: Type.Union([Type.String(), Type.Null()]),
    last_id: Type.Union([Type.String(), Type.Null()]),
    has_more: Type.Boolean(),
  });

/** Query of a list that is read page by page. */
export const pageQuery = (mostPerPage: number, perPage: number) => ({
  limit: Type.Integer({ minimum: 1, maximum: mostPerPage, default: perPage }),
  after: Type.Optional(Type.String({ maxLength: 128 })),
  order: Type.Union([Type.Literal("asc"), Type.Literal("desc")], { default: "desc" }),
});

/** A page of a list, from one row more than was asked for. */
export function toPage<T extends { readonly id: string }>(rows: readonly T[], limit: number) {
  const data = rows.slice(0, limit);
  return {
    object: "list" as const,
    data,
    first_id: data.at(0)?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: rows.length > limit,
  };
}
