"""One peer of a benchmark: prepares a model its own way, then runs it on request.

Prints {"ready": true} or {"missing": "why"}; then answers each line of standard input with one line
of JSON: `run N` times N calls, `outputs FILE` writes what one call gives. Ends with its input.
"""

import argparse
import json
import os
import resource
import struct
import sys
import time

import torch

import models

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
          "I64": torch.int64, "I32": torch.int32, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def load(path):
    """Reads a safetensors file."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    data = torch.from_file(path, size=os.path.getsize(path), dtype=torch.uint8)[8 + size:]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        part = data[begin:end]
        if part.data_ptr() % 64:
            part = part.clone()  # the rest stays in the file's pages, which all peers share
        tensors[name] = part.view(DTYPES[entry["dtype"]]).view(entry["shape"])
    return tensors


def save(path, tensors):
    """Writes a safetensors file."""
    header, parts, offset = {}, [], 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        data = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def prepare(mode, model, inputs, folder):
    """A callable without arguments, or SystemExit with why there is none."""
    if mode in ("compile", "reduce-overhead", "max-autotune"):
        how = "default" if mode == "compile" else mode
        compiled = torch.compile(model, mode=how, fullgraph=True, dynamic=False)
        return lambda: compiled(*inputs)
    if mode == "aoti":
        return prepare_aoti(model, inputs, folder)
    if mode == "onnxruntime":
        return prepare_onnxruntime(model, inputs, folder)
    if mode == "eager":
        return lambda: model(*inputs)
    raise SystemExit(f"unknown mode {mode}")


def prepare_aoti(model, inputs, folder):
    """Weights stay where they are: written into the package, they would be there many times."""
    exported = torch.export.export(model, tuple(inputs))
    package = torch._inductor.aoti_compile_and_package(
        exported, package_path=os.path.join(folder, "aoti.pt2"),
        inductor_configs={"aot_inductor.package_constants_in_so": False})
    loaded = torch._inductor.aoti_load_package(package)
    there = {**exported.state_dict, **exported.constants}
    there = {name: tensor for name, tensor in there.items() if isinstance(tensor, torch.Tensor)}
    wanted = loaded.get_constant_fqns()
    loaded.load_constants({name: there[name] for name in wanted}, check_full_update=True, user_managed=True)
    return lambda: loaded(*inputs)


def prepare_onnxruntime(model, inputs, folder):
    try:
        import onnxruntime
    except ImportError:
        raise SystemExit("onnxruntime isn't installed") from None
    path = os.path.join(folder, "model.onnx")
    try:
        torch.onnx.export(model, tuple(inputs), path, dynamo=True)
    except ImportError as error:
        raise SystemExit(f"exporting to ONNX needs {error.name}") from None
    provider = "CUDAExecutionProvider" if inputs[0].is_cuda else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise SystemExit(f"onnxruntime has no {provider}")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, settings, providers=[provider])
    feeds = {i.name: x.cpu().numpy() for i, x in zip(session.get_inputs(), inputs)}

    def call():
        return tuple(torch.from_numpy(x) for x in session.run(None, feeds))
    return call


def limit_memory(share=0.8):
    """A compiler that wants more than is free shall fail, not take the machine down."""
    with open("/proc/meminfo") as lines:
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(share * free), most))


def time_calls(call, calls, cuda):
    if cuda:
        torch.cuda.synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    answer = {"host_us": 1e6 * (time.perf_counter() - start) / calls}
    if cuda:
        end.record()
        end.synchronize()
        answer["device_us"] = 1e3 * begin.elapsed_time(end) / calls
    answer["wall_us"] = 1e6 * (time.perf_counter() - start) / calls
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "mode", "folder", "device"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--length", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()

    if args.device == "cpu":
        limit_memory()
    if args.threads > 0:
        torch.set_num_threads(args.threads)

    def say(answer):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    with torch.inference_mode(args.mode != "aoti" and args.mode != "onnxruntime"), torch.no_grad():
        try:
            inputs = load(os.path.join(args.folder, "inputs.safetensors"))
            inputs = [inputs[f"in_{i}"].to(args.device) for i in range(len(inputs))]
            weights = load(os.path.join(args.folder, "weights.safetensors"))
            model = models.build(args.model, weights, inputs, args.device, args.layers, args.length)
            begin = time.perf_counter()
            call = prepare(args.mode, model, inputs, args.folder)
            for _ in range(3):
                call()
            if args.device == "cuda":
                torch.cuda.synchronize()
            prepare_ms = 1e3 * (time.perf_counter() - begin)
        except SystemExit as why:
            return say({"missing": str(why)})
        except Exception as error:  # a peer that fails is reported with its own words
            first = (str(error).strip().splitlines() or [""])[0]
            return say({"missing": f"{type(error).__name__}: {first[:200]}"})
        say({"ready": True, "prepare_ms": prepare_ms})
        for line in sys.stdin:
            what, _, rest = line.strip().partition(" ")
            if what == "run":
                say(time_calls(call, int(rest), args.device == "cuda"))
            elif what == "outputs":
                outputs = call()
                outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
                save(rest, {f"out_{i}": x for i, x in enumerate(outputs)})
                say({"outputs": len(outputs)})
            else:
                say({"error": f"unknown request {what}"})


if __name__ == "__main__":
    main()
