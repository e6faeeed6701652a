// Colours of the scene, light and dark, and those that tell left from right, as on the mannequin.
import { Color } from "three";

export interface Theme {
  readonly sky: Color;
  readonly line: Color;
  readonly heavyLine: Color;
  readonly shadow: number;
  readonly light: number;
}

const LIGHT: Theme = {
  sky: new Color("#f3f4f7"),
  line: new Color("#d9dce4"),
  heavyLine: new Color("#c3c8d4"),
  shadow: 0.2,
  light: 1,
};
const DARK: Theme = {
  sky: new Color("#16181d"),
  line: new Color("#262a32"),
  heavyLine: new Color("#363b46"),
  shadow: 0.5,
  light: 0.85,
};

export const LEFT = new Color("#2f7df6");
export const RIGHT = new Color("#e5484d");
export const MIDDLE = new Color("#8b8f9a");

const dark = matchMedia("(prefers-color-scheme: dark)");

export const currentTheme = (): Theme => (dark.matches ? DARK : LIGHT);

/** Call `change` whenever the user switches between light and dark. */
export const onThemeChange = (change: () => void): void => dark.addEventListener("change", change);
