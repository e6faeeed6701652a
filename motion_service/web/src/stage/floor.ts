// The floor: a grid of half metres and metres that fades out around whoever is looked at.
import { Color, Mesh, PlaneGeometry, ShaderMaterial, Vector2 } from "three";

const VERTEX = `
  varying vec2 place;
  void main() {
    vec4 world = modelMatrix * vec4(position, 1.0);
    place = world.xz;
    gl_Position = projectionMatrix * viewMatrix * world;
  }`;

const FRAGMENT = `
  uniform vec3 line;
  uniform vec3 heavy;
  uniform vec2 centre;
  uniform float reach;
  varying vec2 place;
  float grid(float step, float width) {
    vec2 at = place / step;
    vec2 size = fwidth(at);
    vec2 away = abs(fract(at - 0.5) - 0.5) / max(size, vec2(1e-5));
    vec2 drawn = (1.0 - smoothstep(width * 0.5, width * 0.5 + 1.0, away)) * (1.0 - smoothstep(0.3, 0.7, size));
    return max(drawn.x, drawn.y);
  }
  void main() {
    float fine = grid(0.5, 0.6);
    float coarse = grid(1.0, 1.0);
    float fade = 1.0 - smoothstep(0.25 * reach, reach, distance(place, centre));
    gl_FragColor = vec4(mix(line, heavy, coarse), max(0.75 * fine, coarse) * fade);
    #include <colorspace_fragment>
  }`;

const REACH = 6; // metres

export class Floor {
  readonly object: Mesh<PlaneGeometry, ShaderMaterial>;

  constructor() {
    const uniforms = {
      line: { value: new Color() },
      heavy: { value: new Color() },
      centre: { value: new Vector2() },
      reach: { value: REACH },
    };
    const material = new ShaderMaterial({ vertexShader: VERTEX, fragmentShader: FRAGMENT, uniforms, transparent: true, depthWrite: false });
    this.object = new Mesh(new PlaneGeometry(60, 60).rotateX(-Math.PI / 2), material);
    this.object.position.y = -0.002;
    this.object.renderOrder = -1;
  }

  paint(line: Color, heavy: Color): void {
    const { uniforms } = this.object.material;
    uniforms["line"]!.value.copy(line);
    uniforms["heavy"]!.value.copy(heavy);
  }

  /** The middle of what is drawn. */
  moveTo(x: number, z: number): void {
    this.object.material.uniforms["centre"]!.value.set(x, z);
  }
}
