# The boot sector with which the launch script finds out whether KVM really runs a guest: it goes from real mode to
# long mode with paging on, runs a BMI2 instruction where CPUID offers it (kernels decompress themselves with those, and
# some nested hypervisors advertise what they cannot run), then ends QEMU through isa-debug-exit with exit status 85.
# The script carries it as hexadecimal digits; a test assembles this file and compares.
    .globl _start
_start:
    .code16
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    cld
    mov $0x1000, %di
    mov $0x0c00, %cx
    xor %eax, %eax
    rep stosl
    movw $0x2003, (0x1000)          # PML4 -> page directory pointers
    movw $0x3003, (0x2000)          # -> page directory
    movw $0x0083, (0x3000)          # -> one page of 2 MiB at 0
    mov $0x1000, %eax
    mov %eax, %cr3
    mov $0x20, %eax                 # physical address extension
    mov %eax, %cr4
    mov $0xc0000080, %ecx           # EFER: long mode
    rdmsr
    or $0x100, %ax
    wrmsr
    lgdtl (gdtr)
    mov $0x80000011, %eax           # paging, protected mode
    mov %eax, %cr0
    ljmp $8, $long_mode
    .code64
long_mode:
    mov $7, %eax
    xor %ecx, %ecx
    cpuid
    bt $8, %ebx
    jnc done
    mov $5, %edx
    shlx %edx, %eax, %ecx
done:
    mov $0x2a, %al
    out %al, $0xf4
halt:
    hlt
    jmp halt
    .balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000
gdtr:
    .word . - gdt - 1
    .long gdt
