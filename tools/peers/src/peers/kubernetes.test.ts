import { expect, test } from "vitest";
import { withoutLocalReplaces, withPublishedParts } from "./kubernetes.ts";

test("parts of Kubernetes come from their published modules, other modules keep their versions", () => {
  const goMod = `require (
	k8s.io/api v0.0.0
	k8s.io/kube-openapi v0.0.0-20260108192941-914a6e750570
	k8s.io/utils v0.0.0-20260108192941-914a6e750570 // indirect
	k8s.io/kubelet v0.0.0 // indirect
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/kubelet => ./staging/src/k8s.io/kubelet
)
`;
  expect(withPublishedParts(goMod, "v0.37.2")).toBe(`require (
	k8s.io/api v0.37.2
	k8s.io/kube-openapi v0.0.0-20260108192941-914a6e750570
	k8s.io/utils v0.0.0-20260108192941-914a6e750570 // indirect
	k8s.io/kubelet v0.37.2 // indirect
)

replace (
	k8s.io/api => k8s.io/api v0.37.2
	k8s.io/kubelet => k8s.io/kubelet v0.37.2
)
`);
});

test("replaces by folders beside the module go, others stay", () => {
  const goMod = `replace (
	go.etcd.io/etcd/api/v3 => ../api
	go.etcd.io/etcd/pkg/v3 => ../pkg
	example.org/old => example.org/new v1.0.0
)
`;
  expect(withoutLocalReplaces(goMod)).toBe("replace (\n\texample.org/old => example.org/new v1.0.0\n)\n");
});
