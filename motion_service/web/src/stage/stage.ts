// A floor, lights, a camera that turns around, and whoever stands there. Draws only while it is seen.
import {
  DirectionalLight,
  HemisphereLight,
  Mesh,
  PCFShadowMap,
  PerspectiveCamera,
  PlaneGeometry,
  Scene,
  ShadowMaterial,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

import { h } from "../dom.ts";
import { t } from "../strings.ts";
import { Floor } from "./floor.ts";
import { currentTheme, onThemeChange } from "./theme.ts";

const TARGET = new Vector3(0, 0.95, 0);
const PLACE = new Vector3(1.02, 1.4, 4.7);
const FOLLOW = 3; // 1/s, how fast the camera goes after the figure
const LONGEST = 0.25; // seconds of one frame: a page that was hidden goes on where it was
const TURN = Math.PI / 24; // of one arrow key

export class Stage {
  readonly element: HTMLElement;
  readonly scene = new Scene();
  readonly camera = new PerspectiveCamera(30, 1, 0.05, 60);
  /** Called before each picture with the seconds since the last one. */
  onFrame: (seconds: number) => void = () => {};
  /** Where the camera looks, and whom it follows over the floor; null: it stays. */
  follow: (() => Vector3) | null = null;
  private readonly renderer: WebGLRenderer;
  private readonly controls: OrbitControls;
  private readonly sun = new DirectionalLight("#ffffff", 2.2);
  private readonly sky = new HemisphereLight("#ffffff", "#b9bcc6", 1.7);
  private readonly shadow = new ShadowMaterial();
  private readonly floor = new Floor();
  private last = 0;
  private running = false;

  /** Throws where there is no WebGL. */
  constructor(label: string) {
    const canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": `${label}. ${t("stage.keys")}` });
    this.element = h("div", { class: "stage" }, canvas);
    this.renderer = new WebGLRenderer({ canvas, antialias: true });
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = PCFShadowMap;
    this.controls = new OrbitControls(this.camera, canvas);
    Object.assign(this.controls, { enableDamping: true, minDistance: 1, maxDistance: 12, maxPolarAngle: 0.53 * Math.PI });
    this.controls.zoomSpeed = 0.8;
    this.build();
    this.resetView();
    this.paint();
    onThemeChange(() => this.paint());
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  private build(): void {
    const { sun } = this;
    sun.position.set(1.6, 3.4, 2.4);
    sun.castShadow = true;
    sun.shadow.mapSize.set(1024, 1024);
    sun.shadow.radius = 5;
    sun.shadow.bias = -0.0004;
    sun.shadow.normalBias = 0.02;
    Object.assign(sun.shadow.camera, { left: -1.6, right: 1.6, top: 2, bottom: -1.4, near: 0.5, far: 8 });
    const ground = new Mesh(new PlaneGeometry(60, 60), this.shadow);
    ground.rotation.x = -Math.PI / 2;
    ground.receiveShadow = true;
    this.scene.add(this.sky, sun, sun.target, ground, this.floor.object);
  }

  private paint(): void {
    const { sky, line, heavyLine, shadow, light } = currentTheme();
    this.scene.background = sky;
    this.shadow.opacity = shadow;
    this.sun.intensity = 2.2 * light;
    this.sky.intensity = 1.7 * light;
    this.floor.paint(line, heavyLine);
  }

  resetView(): void {
    const at = this.follow?.() ?? TARGET;
    this.controls.target.set(at.x, TARGET.y, at.z);
    this.camera.position.copy(PLACE).add(new Vector3(at.x, 0, at.z));
    this.controls.update();
  }

  /** See what `other` sees. */
  copyView(other: Stage): void {
    const offset = other.camera.position.clone().sub(other.controls.target);
    this.camera.position.copy(this.controls.target).add(offset);
    this.controls.update();
  }

  /** Call `moved` when the user moves the camera. */
  onMove(moved: () => void): void {
    this.controls.addEventListener("change", moved);
  }

  setVisible(visible: boolean): void {
    if (visible === this.running) return;
    this.running = visible;
    this.last = performance.now();
    this.renderer.setAnimationLoop(visible ? (now: number) => this.frame(now) : null);
  }

  private frame(now: number): void {
    const seconds = Math.min(Math.max(now - this.last, 0) / 1000, LONGEST);
    this.last = now;
    this.onFrame(seconds);
    this.goAfter(seconds);
    this.controls.update();
    this.renderer.render(this.scene, this.camera);
  }

  private goAfter(seconds: number): void {
    const at = this.follow?.();
    if (!at) return;
    const { target } = this.controls;
    const share = 1 - Math.exp(-FOLLOW * seconds);
    const way = new Vector3(at.x - target.x, 0, at.z - target.z).multiplyScalar(share);
    target.add(way);
    this.camera.position.add(way);
    this.floor.moveTo(target.x, target.z);
    this.sun.target.position.set(target.x, 0.6, target.z);
    this.sun.position.set(target.x + 1.6, 3.4, target.z + 2.4);
  }

  private fit(): void {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (width === 0 || height === 0) return;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.fov = width < height ? 36 : 30;
    this.camera.updateProjectionMatrix();
    this.renderer.render(this.scene, this.camera);
  }

  private onKey(event: KeyboardEvent): void {
    const turns: Record<string, [number, number, number]> = {
      ArrowLeft: [-TURN, 0, 1],
      ArrowRight: [TURN, 0, 1],
      ArrowUp: [0, -TURN, 1],
      ArrowDown: [0, TURN, 1],
      "+": [0, 0, 0.9],
      "-": [0, 0, 1 / 0.9],
    };
    if (event.key === "0") this.resetView();
    const turn = turns[event.key];
    if (!turn) return;
    event.preventDefault();
    const [around, over, away] = turn;
    const offset = this.camera.position.clone().sub(this.controls.target);
    const flat = Math.hypot(offset.x, offset.z);
    const angle = Math.atan2(offset.x, offset.z) + around;
    const height = Math.min(Math.max(Math.atan2(offset.y, flat) - over, -0.05), 1.45);
    const distance = offset.length() * away;
    offset.set(Math.sin(angle) * Math.cos(height), Math.sin(height), Math.cos(angle) * Math.cos(height));
    this.camera.position.copy(this.controls.target).addScaledVector(offset, distance);
    this.controls.update();
  }
}
