"""The reader of compiled programs, on a program whose counts are known."""

from tests.gpu_compile.program_text import counts

# Written as XLA writes its programs: one loop of five rounds around a fused product, three products
# by themselves, sorts of keys and of floats, and scatters.
PROGRAM = """HloModule jit_step, is_scheduled=true

%fused (param_0: f32[4,8], param_1: bf16[8,2]) -> f32[4,2] {
  %param_0 = f32[4,8]{1,0} parameter(0)
  %param_1 = bf16[8,2]{1,0} parameter(1)
  ROOT %dot.1 = f32[4,2]{1,0} dot(%param_0, %param_1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (state: (s32[], f32[4,2])) -> (s32[], f32[4,2]) {
  %state = (s32[], f32[4,2]{1,0}) parameter(0)
  %step = s32[] get-tuple-element(%state), index=0
  %x = f32[4,8]{1,0} constant({...})
  %y = bf16[8,2]{1,0} constant({...})
  %fusion.1 = f32[4,2]{1,0} fusion(%x, %y), kind=kOutput, calls=%fused
  ROOT %next = (s32[], f32[4,2]{1,0}) tuple(%step, %fusion.1)
}

%less (state: (s32[], f32[4,2])) -> pred[] {
  %state = (s32[], f32[4,2]{1,0}) parameter(0)
  ROOT %true = pred[] constant(true)
}

ENTRY %main (a: bf16[2,16,32], b: bf16[2,32,64], s: f32[100], i: s32[7,1], u: f32[7]) -> f32[100] {
  %a = bf16[2,16,32]{2,1,0} parameter(0)
  %b = bf16[2,32,64]{2,1,0} parameter(1)
  %s = f32[100]{0} parameter(2)
  %i = s32[7,1]{1,0} parameter(3)
  %u = f32[7]{0} parameter(4)
  %first = (s32[], f32[4,2]{1,0}) tuple()
  %while.1 = (s32[], f32[4,2]{1,0}) while(%first), condition=%less, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %while.2 = (s32[], f32[4,2]{1,0}) while(%first), condition=%less, body=%body, backend_config={"known_trip_count":{"n":"1"}}
  %gemm.1 = (bf16[2,16,64]{2,1,0}, s8[1024]{0}) custom-call(%a, %b), custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"],"rhs_contracting_dimensions":["1"],"lhs_batch_dimensions":["0"]}}}
  %half.1 = f32[2,16,64]{2,1,0} dot(%a, %b), lhs_batch_dims={0}, lhs_contracting_dims={2}, rhs_batch_dims={0}, rhs_contracting_dims={1}
  %sort.1 = (s32[7,1]{1,0}, f32[7]{0}) sort(%i, %u), dimensions={0}, to_apply=%less
  %sort.2 = s32[7,1]{1,0} sort(%i), dimensions={0}, to_apply=%less
  %scatter.1 = f32[100]{0} scatter(%s, %i, %u), update_window_dims={}, unique_indices=true, to_apply=%less
  %scatter.2 = s32[7,1]{1,0} scatter(%i, %i, %i), update_window_dims={}, to_apply=%less
  ROOT %scatter.3 = f32[100]{0} scatter(%s, %i, %u), update_window_dims={}, to_apply=%less
}
"""  # noqa: E501


def test_counts_of_a_program() -> None:
    found = counts(PROGRAM)
    # The loops' fusion 5 + 1 times, two products, two sorts, three scatters.
    assert found.kernels == 6 + 2 + 2 + 3
    assert found.wide_flops == 6 * 2 * 4 * 2 * 8
    assert found.half_flops == 2 * (2 * 2 * 16 * 64 * 32)
    assert found.loops == ["while.1"]
    assert found.float_sorts == ["sort.1"]
    assert found.colliding_scatters == ["scatter.3"]
    assert found.custom_calls == ["__cublas$lt$matmul"]
