// Draws openapi.json. Every address is relative, so the page also works behind a
// prefix; validatorUrl null keeps Swagger UI from asking a public host for a badge.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  validatorUrl: null,
});
