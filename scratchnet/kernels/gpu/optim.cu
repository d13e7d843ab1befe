// The updates of scratchnet/optim for many parameters in one launch: each number of parameter, gradient and state is
// read and written once. A network has many small parameters, and a launch of its own for each would cost more time
// than the arithmetic.
//
// `table` has a line for each parameter: how many elements it has, and the addresses of the parameter, its gradient and
// its state (0: there is none). Blocks (0, line), (1, line), ... share the elements of a line: a thread takes every
// (gridDim.x * blockDim.x)-th, so that neighbouring threads read neighbouring elements.
#include "common.cuh"

typedef unsigned long long Address;

__device__ inline REAL* array(const Address* line, int column) { return (REAL*)line[1 + column]; }

#define FOR_EACH_ELEMENT(line) \
    for (Index i = thread_number(), size = (Index)(line)[0]; i < size; i += (Index)gridDim.x * blockDim.x)

extern "C" __global__ void sgd(
    const Address* table, REAL sign, REAL lr, REAL momentum, REAL undamped, REAL weight_decay, bool nesterov
) {
    const Address* line = table + 4 * blockIdx.y;
    REAL *param = array(line, 0), *buffer = array(line, 2);
    const REAL* grad = array(line, 1);
    FOR_EACH_ELEMENT(line) {
        REAL g = sign * grad[i];
        if (weight_decay != 0) g += weight_decay * param[i];
        if (buffer) {
            REAL b = momentum * buffer[i] + undamped * g;
            buffer[i] = b;
            g = nesterov ? g + momentum * b : b;
        }
        param[i] -= lr * g;
    }
}

extern "C" __global__ void adam(
    const Address* table, REAL sign, REAL lr, REAL rate1, REAL beta2, REAL rate2, REAL root2, REAL eps, REAL keep,
    REAL weight_decay
) {
    const Address* line = table + 6 * blockIdx.y;
    REAL *param = array(line, 0), *exp_avg = array(line, 2), *exp_avg_sq = array(line, 3), *largest = array(line, 4);
    const REAL* grad = array(line, 1);
    FOR_EACH_ELEMENT(line) {
        REAL g = sign * grad[i], p = keep * param[i];
        if (weight_decay != 0) g += weight_decay * p;
        REAL m = exp_avg[i] + rate1 * (g - exp_avg[i]);
        REAL v = beta2 * exp_avg_sq[i] + rate2 * g * g;
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        if (largest) largest[i] = v = Max::of(largest[i], v);  // AMSGrad
        param[i] = p - lr * m / (sqrt(v) / root2 + eps);
    }
}

extern "C" __global__ void rmsprop(
    const Address* table, REAL sign, REAL lr, REAL alpha, REAL rate, REAL eps, REAL weight_decay, REAL momentum
) {
    const Address* line = table + 6 * blockIdx.y;
    REAL *param = array(line, 0), *square_avg = array(line, 2), *grad_avg = array(line, 3), *buffer = array(line, 4);
    const REAL* grad = array(line, 1);
    FOR_EACH_ELEMENT(line) {
        REAL g = sign * grad[i];
        if (weight_decay != 0) g += weight_decay * param[i];
        REAL v = alpha * square_avg[i] + rate * g * g;
        square_avg[i] = v;
        if (grad_avg) {  // centered
            REAL mean = grad_avg[i] + rate * (g - grad_avg[i]);
            grad_avg[i] = mean;
            v -= mean * mean;
        }
        REAL step = g / (sqrt(v) + eps);
        if (buffer) {
            step += momentum * buffer[i];
            buffer[i] = step;
        }
        param[i] -= lr * step;
    }
}

extern "C" __global__ void adagrad(const Address* table, REAL sign, REAL lr, REAL eps, REAL weight_decay) {
    const Address* line = table + 4 * blockIdx.y;
    REAL *param = array(line, 0), *square_sum = array(line, 2);
    const REAL* grad = array(line, 1);
    FOR_EACH_ELEMENT(line) {
        REAL g = sign * grad[i];
        if (weight_decay != 0) g += weight_decay * param[i];
        REAL s = square_sum[i] + g * g;
        square_sum[i] = s;
        param[i] -= lr * g / (sqrt(s) + eps);
    }
}
