// The page: one script, one style sheet, no address outside the folder it is served from.
import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // works under any mount path
  publicDir: false,
  build: {
    outDir: "static",
    target: "es2022",
    modulePreload: false,
    chunkSizeWarningLimit: 1200,
    license: { fileName: "licences.md" },
    rolldownOptions: {
      output: {
        // Names without hashes: a rebuild changes files instead of replacing them.
        entryFileNames: "page.js",
        assetFileNames: "page[extname]",
        codeSplitting: false,
      },
    },
  },
});
