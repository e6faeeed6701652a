// A small picture of an avatar on white, as the tests of the player and of rendered poses look at it.
import * as THREE from 'three';

const SIZE = 320; // pixels
let renderer;

/** What draws `vrm` from `distance` metres in front (negative: from behind): call `draw`, then read `canvas`. */
export function newPicture(vrm, distance) {
  renderer ??= new THREE.WebGLRenderer({ preserveDrawingBuffer: true });
  renderer.setSize(SIZE, SIZE, false);
  const scene = new THREE.Scene();
  scene.background = new THREE.Color('white');
  scene.add(new THREE.HemisphereLight('white', 'white', 3), vrm.scene);
  const camera = new THREE.PerspectiveCamera(40, 1, 0.1, 20);
  camera.position.set(0, 1, distance);
  camera.lookAt(0, 0.9, 0);
  return { draw: () => renderer.render(scene, camera), canvas: renderer.domElement };
}
