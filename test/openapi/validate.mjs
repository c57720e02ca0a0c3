// Reads an OpenAPI document and exits with 1 where the specification's own schema does not take it.
// node validate.mjs < openapi.json; the package lies in SYNC_OPENAPI_VALIDATOR, or beside this file.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { text } from "node:stream/consumers";

const beside = dirname(fileURLToPath(import.meta.url));
const folder = process.env.SYNC_OPENAPI_VALIDATOR || beside;
const require = createRequire(join(folder, "package.json"));
const { Validator } = await import(pathToFileURL(require.resolve("@seriousme/openapi-schema-validator")));

const validator = new Validator();
const { valid, errors } = await validator.validate(JSON.parse(await text(process.stdin)));
console.log(JSON.stringify({ version: validator.version, errors }, null, 1));
process.exit(valid ? 0 : 1);
