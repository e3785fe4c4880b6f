"""What a trained network is asked for: samples, and likelihoods. Both return (work, evaluations): a
callable that serves a whole batch, and how often it passes the network."""

import torch

RHO, SIGMA_MIN, SIGMA_MAX = 7, 0.002, 80


def x0_hat(predict_eps, times, x, sigma):
    """The denoised image at noise-to-signal `sigma`, x = x0 + sigma eps, by a network that predicts
    the noise of a variance-preserving process."""
    step = times.step_of(sigma).expand(x.shape[0])
    eps = predict_eps((x / (1 + sigma**2).sqrt()).float(), step)
    return x - sigma * eps


def bound_term(predict_eps, times, shape, device, draws):
    """The variational bound's diffusion term of a batch in nats (Kingma et al. 2021, 2107.00630):
    1/2 |eps - eps_hat|^2 over the range of log-SNR, at `draws` random times an image."""

    @torch.no_grad()
    def work():
        x0 = torch.randint(0, 256, shape, device=device).float() / 127.5 - 1
        width = 2 * torch.log(times.ratio[-1] / times.ratio[0])  # of the range of log-SNR
        nats = torch.zeros(shape[0], dtype=torch.float64, device=device)
        for _ in range(draws):
            eps = torch.randn(shape, device=device)
            step = torch.randint(0, times.count, (shape[0],), device=device)
            alpha, sigma = (level[step].view(-1, 1, 1, 1) for level in (times.alpha, times.sigma))
            error = predict_eps(alpha * x0 + sigma * eps, step) - eps
            nats += error.double().square().sum(list(range(1, len(shape))))
        return width / (2 * draws) * nats

    return work, draws


def edm_sigmas(steps, device):
    i = torch.arange(steps, dtype=torch.float64, device=device)
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    return torch.cat([(high + i / (steps - 1) * (low - high)) ** RHO, i.new_zeros(1)])


def heun(predict_eps, times, shape, device, steps):
    """Karras et al. 2022 (2206.00364), algorithm 1: the last step is Euler's. The state is float64,
    as there."""
    sigmas = edm_sigmas(steps, device)

    @torch.no_grad()
    def work():
        x = sigmas[0] * torch.randn(shape, dtype=torch.float64, device=device)
        for i in range(steps):
            now, then = sigmas[i], sigmas[i + 1]
            slope = (x - x0_hat(predict_eps, times, x, now)) / now
            x_next = x + (then - now) * slope
            if i < steps - 1:
                slope_next = (x_next - x0_hat(predict_eps, times, x_next, then)) / then
                x_next = x + (then - now) * (slope + slope_next) / 2
            x = x_next
        return x

    return work, 2 * steps - 1


def ode_likelihood(predict_eps, times, shape, device, steps):
    """-log p in nats of a batch: the probability-flow ODE (Song et al. 2021, 2011.13456, eq. 39) by
    `steps` RK4 steps in log sigma, with one Rademacher probe an example (Grathwohl et al. 2019,
    1810.01367)."""
    knots = torch.linspace(0, 1, 2 * steps + 1, dtype=torch.float64, device=device)
    sigmas = SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** knots  # a step takes three of them
    width = torch.log(sigmas[2] / sigmas[0])
    dims = shape[1:].numel()
    axes = list(range(1, len(shape)))

    def flow(x, sigma, probe):
        """d x / d log sigma and the probe's estimate of its divergence."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            slope = x - x0_hat(predict_eps, times, x, sigma)
            (product,) = torch.autograd.grad((slope * probe).sum(), x)
        return slope.detach(), (product * probe).sum(axes)

    def work():
        x0 = torch.randint(0, 256, shape, device=device).double() / 127.5 - 1
        probe = torch.randint(0, 2, shape, device=device).double() * 2 - 1
        x, volume = x0 + sigmas[0] * torch.randn_like(x0), 0
        for i in range(steps):
            now, middle, then = sigmas[2 * i], sigmas[2 * i + 1], sigmas[2 * i + 2]
            k1, d1 = flow(x, now, probe)
            k2, d2 = flow(x + width / 2 * k1, middle, probe)
            k3, d3 = flow(x + width / 2 * k2, middle, probe)
            k4, d4 = flow(x + width * k3, then, probe)
            x = x + width / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            volume = volume + width / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        prior = (x / sigmas[-1]).square().sum(axes) / 2 + dims * torch.log(
            sigmas[-1] * (2 * torch.pi) ** 0.5
        )
        return prior - volume

    return work, 4 * steps
