// The embeddable player: one ES module without three and three-vrm in it, next to the page.
import { defineConfig } from "vite";

export default defineConfig({
  publicDir: "player/npm", // its package.json
  build: {
    outDir: "static/player",
    target: "es2022",
    lib: { entry: "player/index.ts", formats: ["es"], fileName: () => "index.js" },
    rolldownOptions: {
      external: [/^three($|\/)/, /^@pixiv\//],
      output: { minify: true },
    },
  },
});
