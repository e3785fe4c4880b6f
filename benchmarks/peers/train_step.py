"""One training step by PyTorch and diffusers, as a peer of ours: noised images forward, squared
error of the noise, backward, clipping, AdamW, moving average. Beside it, what a trained network is
asked for (inference.py).

    python3 train_step.py --network large --mode eager,compile
    python3 train_step.py --network large --mode compile --what heun18 --batch 256
    python3 train_step.py --network small --device cpu --precision fp32 --ranks 2 --batch 64
    python3 train_step.py --network small --device cpu --channels 64,128,128 --shape 3,32,32
    python3 train_step.py --network tiny --device cpu --steps 3 --warmup 1

Prints one line of JSON for each mode, as soon as it is known."""

import argparse
import json
import os
import sys
import tempfile
import time

import torch
import torch.distributed
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor

import inference
import networks
import stopwatch

# None: not compiled. The other names are torch.compile's own.
MODES = {
    "eager": None,
    "compile": "default",
    "reduce-overhead": "reduce-overhead",
    "max-autotune": "max-autotune",
    "max-autotune-no-cudagraphs": "max-autotune-no-cudagraphs",
}
LAYOUTS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}


def numbers(text):
    return tuple(int(number) for number in text.split(","))


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=networks.NETWORKS, default="large")
    parser.add_argument("--what", choices=["train", "heun18", "ode", "elbo"], default="train")
    parser.add_argument("--channels", type=numbers, help="of the network's levels, for its own")
    parser.add_argument("--shape", type=numbers, help="of an image, C,H,W, for the network's own")
    parser.add_argument(
        "--batch", type=int, default=0, help="images a step; 0: as the network's config"
    )
    parser.add_argument(
        "--mode", default="eager", help="one or more, with commas: " + ", ".join(MODES)
    )
    parser.add_argument(
        "--precision", choices=["bf16", "tf32", "fp32"], default="bf16", help="bf16 is autocast's"
    )
    parser.add_argument("--layout", choices=LAYOUTS, default="channels-last")
    parser.add_argument(
        "--attention",
        choices=["fused", "bmm"],
        default="fused",
        help="PyTorch's fused attention, or two batched products with a softmax between",
    )
    parser.add_argument(
        "--ranks",
        type=int,
        default=1,
        help="of train: processes under DistributedDataParallel with Gloo, --batch images each",
    )
    parser.add_argument("--threads", type=int, default=0, help="a rank; 0: PyTorch's own choice")
    parser.add_argument(
        "--steps", type=int, default=50, help="timed; of heun18, ode and elbo: batches"
    )
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument(
        "--rk4-steps", type=int, default=10, help="of ode: a quarter of its evaluations"
    )
    parser.add_argument(
        "--budget-seconds", type=float, default=0, help="for all modes together; 0: no end"
    )
    parser.add_argument(
        "--lock",
        metavar="FILE",
        help="hold this file's lock while timing: other programs that compile may run beside it",
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--profile",
        metavar="FILE",
        help="also trace three steps of the last mode, for kernel_shares.py",
    )
    options = parser.parse_args()
    options.mode = options.mode.split(",")
    for mode in options.mode:
        if mode not in MODES:
            parser.error(f"--mode {mode}: expected one of {', '.join(MODES)}")
    if options.steps < 1 or options.warmup < 0 or options.batch < 0 or options.rk4_steps < 1:
        parser.error("--steps and --rk4-steps must be at least 1, --warmup and --batch at least 0")
    if options.ranks < 1 or (options.ranks > 1 and options.what != "train"):
        parser.error("--ranks must be at least 1; more than one rank trains only")
    try:
        options.sized = networks.sized(options.network, options.channels, options.shape)
    except ValueError as error:
        parser.error(f"--channels: {error}")
    options.batch = options.batch or options.sized.batch
    return options


def set_arithmetic(precision):
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"


def network_call(model, options, device):
    """(x, step) -> the predicted noise in float32."""
    mode = MODES[options.current]
    called = model if mode is None else torch.compile(model, mode=mode)

    def predict_eps(x, step):
        x = x.contiguous(memory_format=LAYOUTS[options.layout])
        # A replayed graph may write over its last results.
        torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            return called(x, step, return_dict=False)[0].float()

    return predict_eps


def training(model, predict_eps, times, options, device):
    """A callable that takes one step. The images come from page-locked memory, as from a loader;
    what is random is drawn on the device."""
    model.train()
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0, fused=True)
    images = torch.randint(0, 256, (options.batch, *options.sized.shape), dtype=torch.uint8)
    if device.type == "cuda":
        images = images.pin_memory()

    def work():
        x0 = images.to(device, non_blocking=True).float() / 127.5 - 1
        eps = torch.randn_like(x0)
        step = torch.randint(0, times.count, (options.batch,), device=device)
        x_t = times.alpha[step].view(-1, 1, 1, 1) * x0 + times.sigma[step].view(-1, 1, 1, 1) * eps
        optimizer.zero_grad(
            set_to_none=True
        )  # before the network: a graph's memory holds the gradients
        loss = F.mse_loss(predict_eps(x_t, step), eps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - 0.9999)
        return loss

    return work


def work_of(options, device):
    """What is timed, and how often it passes the network."""
    model = networks.build(options.sized, device, LAYOUTS[options.layout])
    options.weights = sum(p.numel() for p in model.parameters())
    if options.attention == "bmm":
        for module in model.modules():
            if isinstance(module, Attention):
                module.set_processor(AttnProcessor())
    if options.ranks > 1:
        model = torch.nn.parallel.DistributedDataParallel(model)
    predict_eps = network_call(model, options, device)
    times = networks.DdpmTimes(device)
    if options.what == "train":
        return training(model, predict_eps, times, options, device), 1
    model.eval().requires_grad_(False)
    shape = torch.Size([options.batch, *options.sized.shape])
    if options.what == "heun18":
        return inference.heun(predict_eps, times, shape, device, steps=18)
    if options.what == "elbo":
        return inference.bound_term(predict_eps, times, shape, device, draws=8)
    return inference.ode_likelihood(predict_eps, times, shape, device, options.rk4_steps)


class Noted:
    """Work that notes when its first call ended, in seconds since 1970, and its last result."""

    def __init__(self, work, device):
        self.work, self.device = work, device
        self.first_end = self.last = None

    def __call__(self):
        self.last = self.work().detach()
        if self.first_end is None:
            stopwatch.synchronize(self.device)
            self.first_end = time.time()


def check(result, options):
    if not torch.isfinite(result).all():
        raise RuntimeError(
            f"{options.what} in mode {options.current} gave numbers that are not finite: "
            f"{result.flatten()[:8]}"
        )


def trace(work, device, path):
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(3):
            work()
        stopwatch.synchronize(device)
    profile.export_chrome_trace(path)


def run_mode(options, device, budget):
    torch._dynamo.reset()
    torch.manual_seed(1)
    work, evaluations = work_of(options, device)
    work = Noted(work, device)
    result = stopwatch.measure(
        work, options.batch, options.steps, options.warmup, device, budget, options.lock
    )
    result["weights"] = options.weights
    result["first_call_ended"] = work.first_end
    if "images_per_s" in result:
        check(work.last, options)
        # A step of DistributedDataParallel ends on all ranks together.
        result["images_per_s"] = round(options.ranks * result["images_per_s"], 1)
        result["evaluations_per_image"] = evaluations
        result["network_images_per_s"] = round(evaluations * result["images_per_s"], 1)
        if options.profile and options.current == options.mode[-1]:
            trace(work, device, options.profile)
    return result


def run_rank(rank, options, meeting):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.ranks
    )
    run_all_modes(options, quiet=rank > 0)


def run_all_modes(options, quiet=False):
    device = torch.device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    set_arithmetic(options.precision)
    budget = stopwatch.Budget(options.budget_seconds)
    failed = False
    for mode in options.mode:
        options.current = mode
        line = {
            "peer": "diffusers",
            "what": options.what,
            "network": options.network,
            "batch": options.batch,
            "mode": mode,
            "precision": options.precision,
            "layout": options.layout,
            "attention": options.attention,
            "ranks": options.ranks,
            "threads": torch.get_num_threads(),
        }
        try:
            line |= run_mode(options, device, budget)
        except Exception as error:  # the other modes are still worth their numbers
            failed = True
            line["error"] = f"{type(error).__name__}: {error}"[:400]
        line |= {
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        }
        if not quiet:
            print(json.dumps(line), flush=True)
    # Without waiting for processes that compile for a mode which was stopped.
    sys.stdout.flush()
    os._exit(1 if failed else 0)


def main():
    options = arguments()
    if options.ranks == 1:
        run_all_modes(options)
    with tempfile.TemporaryDirectory() as folder:
        arguments_of_rank = (options, os.path.join(folder, "meeting"))
        ranks = torch.multiprocessing.start_processes(
            run_rank, arguments_of_rank, options.ranks, join=False, start_method="spawn"
        )
        codes = [process.join() or process.exitcode for process in ranks.processes]
    sys.exit(max(map(abs, codes)))


if __name__ == "__main__":
    main()
